"""Iterative target class: small steps towards the given class (Kurakin et al., arXiv:1611.01236)."""

from dataclasses import dataclass

import torch

from advkit.attacks import TOWARDS, ascend, loss_gradient
from advkit.labels import class_of
from advkit.networks import load_network
from advkit.run import AttackJob, attack_main
from advkit.tensors import batch_size, to_pixels, to_tensor


@dataclass(frozen=True)
class Config:
    """Keys of `config.yaml`."""

    surrogates: list[str]  # networks of advkit.networks, averaged in logits
    steps: int
    relative_step_size: float  # of epsilon; steps * relative_step_size should be at least 1


def iter_target_class(job: AttackJob) -> None:
    """Step towards the class that target_class.csv names for each image."""
    config = job.read_config(Config)
    network = load_network(*config.surrogates)
    targets = job.target_labels()
    for batch in job.batches(batch_size()):
        x = to_tensor(batch.pixels)
        classes = torch.tensor([class_of(targets[name]) for name in batch.names], device=x.device)
        x_adv = ascend(
            x,
            loss_gradient(network, classes, TOWARDS),
            epsilon=job.epsilon,
            step_size=config.relative_step_size * job.epsilon,
            steps=config.steps,
        )
        job.save(batch, to_pixels(x_adv))


if __name__ == "__main__":
    attack_main(iter_target_class, __file__)
