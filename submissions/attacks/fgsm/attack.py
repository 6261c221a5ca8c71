"""FGSM: one step of size epsilon along the sign of the loss gradient (Goodfellow et al., arXiv:1412.6572)."""

from dataclasses import dataclass

from advkit.attacks import ascend, loss_gradient
from advkit.networks import load_network, predict
from advkit.run import AttackJob, attack_main
from advkit.tensors import batch_size, to_pixels, to_tensor


@dataclass(frozen=True)
class Config:
    """Keys of `config.yaml`."""

    surrogates: list[str]  # networks of advkit.networks, averaged in logits


def fgsm(job: AttackJob) -> None:
    """Step away from the surrogate's own answer for the clean image: an attack knows no true labels."""
    config = job.read_config(Config)
    network = load_network(*config.surrogates)
    for batch in job.batches(batch_size(network, *job.image_size)):
        x = to_tensor(batch.pixels)
        gradient = loss_gradient(network, predict(network, x))
        x_adv = ascend(x, gradient, epsilon=job.epsilon, step_size=job.epsilon, steps=1)
        job.save(batch, to_pixels(x_adv))


if __name__ == "__main__":
    attack_main(fgsm, __file__)
