"""Every attack made on every surrogate, and what every network answers: one table of flags.

A white-box error is that of the surrogate itself; all others are transfer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from advkit.perturb import Attack, Config, make_attack
from advkit.tensors import device
from training.adversary import attack_config, perturbed
from training.train import as_tensor

ATTACKS = Path(__file__).resolve().parent / "attacks.yaml"
BATCH = 250
SEED = 2017

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Images:
    """uint8 N x height x width x channels, and their classes, int64, N."""

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]

    def first(self, count: int) -> "Images":
        return Images(self.pixels[:count], self.classes[:count])

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """x and y on `device()`."""
        for start in range(0, len(self.pixels), BATCH):
            part = slice(start, start + BATCH)
            yield as_tensor(self.pixels[part]), torch.from_numpy(self.classes[part]).to(device())


def read_attacks(relative_start_size: float) -> dict[str, Config]:
    """The attacks of attacks.yaml by name; a random start of signs has that share of epsilon, the step the rest."""
    attacks = {}
    for name, keys in yaml.safe_load(ATTACKS.read_text(encoding="utf-8")).items():
        if keys.get("start") == "signs":
            sizes = {"relative_start_size": relative_start_size, "relative_step_size": 1 - relative_start_size}
            keys = {**keys, **sizes}
        attacks[name] = attack_config(keys)
    return attacks


def clean_errors(networks: Mapping[str, nn.Module], images: Images) -> dict[str, Flags]:
    """Network -> which images it misclassifies as they are."""
    return answers(networks, images, lambda x, y, generator: x)


def transfer_errors(
    networks: Mapping[str, nn.Module], source: nn.Module, config: Config, epsilon: float, images: Images
) -> dict[str, Flags]:
    """Network -> which images it misclassifies after the attack on `source`, which knows their true classes.

    epsilon: 0..255 scale. What is shown to the networks is not rounded to grey levels, as in the paper.
    """
    return answers(networks, images, crafted_on(source, config, epsilon))


Crafting = Callable[[Tensor, Tensor, np.random.Generator], Tensor]


def crafted_on(source: nn.Module, config: Config, epsilon: float) -> Crafting:
    """From x and y to x_adv."""
    attack: Attack = make_attack(config)

    def craft(x: Tensor, y: Tensor, generator: np.random.Generator) -> Tensor:
        return perturbed(attack, config, source, x, y, epsilon, [generator] * len(x)).detach()

    return craft


def answers(networks: Mapping[str, nn.Module], images: Images, craft: Crafting) -> dict[str, Flags]:
    """Network -> flags of the images, crafted by one generator with a fixed seed."""
    generator = np.random.default_rng(SEED)
    found: dict[str, list[Tensor]] = {name: [] for name in networks}
    for x, y in images.batches():
        x_adv = craft(x, y, generator)
        with torch.inference_mode():
            for name, network in networks.items():
                found[name].append(network(x_adv).argmax(dim=1) != y)
    return {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}


def losses(network: nn.Module, configs: Sequence[Config], epsilon: float, images: Images) -> NDArray[np.float32]:
    """The cross-entropy after each attack on the network itself, attacks x images."""
    crafts = [crafted_on(network, config, epsilon) for config in configs]
    generator = np.random.default_rng(SEED)
    parts = [torch.stack([_loss(network, craft(x, y, generator), y) for craft in crafts]) for x, y in images.batches()]
    return torch.cat(parts, dim=1).cpu().numpy()


def _loss(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return F.cross_entropy(network(x), y, reduction="none")
