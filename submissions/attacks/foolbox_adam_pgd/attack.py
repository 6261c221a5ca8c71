"""Any library's attack becomes a submission: PGD with Adam's step from foolbox."""

from dataclasses import dataclass

from foolbox import PyTorchModel
from foolbox.attacks import LinfAdamPGD

from advkit.networks import load_network, predict
from advkit.run import AttackJob, attack_main
from advkit.tensors import batch_size, to_pixels, to_tensor


@dataclass(frozen=True)
class Config:
    """Keys of `config.yaml`."""

    surrogates: list[str]  # networks of advkit.networks, averaged in logits
    steps: int
    relative_step_size: float  # of epsilon


def foolbox_adam_pgd(job: AttackJob) -> None:
    """Climb away from the surrogate's own answer for the clean image."""
    config = job.read_config(Config)
    network = load_network(*config.surrogates)
    attack = LinfAdamPGD(rel_stepsize=config.relative_step_size, steps=config.steps, random_start=False)
    for batch in job.batches(batch_size(network, *job.image_size)):
        x = to_tensor(batch.pixels)
        model = PyTorchModel(network, bounds=(0, 1), device=x.device)
        x_adv, _, _ = attack(model, x, predict(network, x), epsilons=job.epsilon / 255)
        job.save(batch, to_pixels(x_adv))


if __name__ == "__main__":
    attack_main(foolbox_adam_pgd, __file__)
