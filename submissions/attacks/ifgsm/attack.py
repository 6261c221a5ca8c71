"""I-FGSM: several small FGSM steps inside the ball (Kurakin et al., arXiv:1607.02533)."""

from dataclasses import dataclass

from advkit.attacks import ascend, loss_gradient, random_start
from advkit.networks import load_network, predict
from advkit.run import AttackJob, attack_main
from advkit.tensors import batch_size, to_pixels, to_tensor


@dataclass(frozen=True)
class Config:
    """Keys of `config.yaml`."""

    surrogates: list[str]  # networks of advkit.networks, averaged in logits
    steps: int
    relative_step_size: float  # of epsilon; steps * relative_step_size should be at least 1
    random_start: bool = False  # true makes it PGD


def ifgsm(job: AttackJob) -> None:
    """Step away from the surrogate's own answer for the clean image: an attack knows no true labels."""
    config = job.read_config(Config)
    network = load_network(*config.surrogates)
    for batch in job.batches(batch_size()):
        x = to_tensor(batch.pixels)
        generators = [job.generator(name) for name in batch.names]
        x_adv = ascend(
            x,
            loss_gradient(network, predict(network, x)),
            epsilon=job.epsilon,
            step_size=config.relative_step_size * job.epsilon,
            steps=config.steps,
            start=random_start(x, job.epsilon, generators) if config.random_start else None,
        )
        job.save(batch, to_pixels(x_adv))


if __name__ == "__main__":
    attack_main(ifgsm, __file__)
