"""Adversarial examples for training: of which network, how large, and with which label.

A batch's source is drawn uniformly from the network in training and its static sources. Without static sources that is
plain adversarial training, with some it is ensemble adversarial training (Tramer et al., arXiv:1705.07204, section
3.3).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advkit.attacks import AWAY
from advkit.config import check_arguments, parameters_of, pick
from advkit.errors import KitError
from advkit.methods import Setting
from advkit.networks import in_precision
from advkit.perturb import OBJECTIVES, Attack, Config, make_attack

NOT_OF_AN_ATTACK = ("surrogates", "precision")
"""Keys of a config.yaml that are the network's own here."""


@dataclass(frozen=True)
class Adversary:
    """Keys of `adversary` in a recipe."""

    epsilon: float  # 0..255 scale
    attack: dict[str, Any] = field(default_factory=dict)  # keys of an attack's config.yaml; nothing is FGSM
    sources: list[str] = field(default_factory=list)  # static sources, trained before
    drawn_epsilon: str = "fixed"  # one of DRAWS: by what the epsilon of an image is multiplied
    label: str = "predicted"  # which class FGSM moves away from: the source's own answer, or the true one, `given`
    batches: str = "full"  # an adversarial batch beside the whole clean one; `half`: instead of its second half


Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def _truncated_normal(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Absolute values of normal deviates of deviation 1/2, each drawn again until it is at most 1.

    Source: Kurakin et al., Adversarial Machine Learning at Scale, arXiv:1611.01236, section 3.
    """
    values = np.abs(generator.normal(0, 0.5, count))
    while (outside := values > 1).any():
        values[outside] = np.abs(generator.normal(0, 0.5, outside.sum()))
    return values


DRAWS: Mapping[str, Draw] = {
    "fixed": lambda generator, count: np.ones(count),
    "uniform": lambda generator, count: generator.uniform(size=count),
    "truncated_normal": _truncated_normal,
}
"""By what the epsilon of each of so many images is multiplied, 0..1."""


class Crafter:
    """Makes the adversarial examples of a training."""

    def __init__(
        self, adversary: Adversary, network: nn.Module, static: Sequence[nn.Module], precision: str = "float32"
    ) -> None:
        self.adversary = adversary
        self.sources = [network, *static]
        self.precision = precision
        self.config = attack_config(adversary.attack)
        self.attack = make_attack(self.config)
        self.draw = pick(DRAWS, adversary.drawn_epsilon, "drawn_epsilon")

    def mixed(self, x: Tensor, y: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor, int]:
        """The images and classes to learn from, and how many of them, the first, are clean."""
        if self.adversary.batches == "full":
            return torch.cat([x, self.examples(x, y, generator)]), torch.cat([y, y]), len(x)
        clean = len(x) // 2
        return torch.cat([x[:clean], self.examples(x[clean:], y[clean:], generator)]), y, clean

    def examples(self, x: Tensor, y: Tensor, generator: np.random.Generator) -> Tensor:
        """x_adv of x, N x channels x height x width, 0..1, with true classes y; a constant for the gradient."""
        source = self.sources[generator.integers(len(self.sources))]
        factors = torch.from_numpy(self.draw(generator, len(x))).to(x)[:, None, None, None]
        given = y if self.adversary.label == "given" else None
        network = in_precision(source, self.precision)
        with crafting(source):
            return perturbed(
                self.attack, self.config, network, x, given, self.adversary.epsilon * factors, [generator] * len(x)
            ).detach()


def attack_config(keys: Mapping[str, Any]) -> Config:
    """The keys of an attack's config.yaml, but for its surrogates and precision. Raises KitError for a wrong one."""
    parameters = {name: value for name, value in parameters_of(Config).items() if name not in NOT_OF_AN_ATTACK}
    check_arguments("attack", keys, parameters)
    config = Config(surrogates=[], **keys)
    pick(OBJECTIVES, config.objective, "attack: objective")
    if config.objective == "towards_target":
        _no_targets()
    return config


def perturbed(
    attack: Attack,
    config: Config,
    network: Callable[[Tensor], Tensor],
    x: Tensor,
    classes: Tensor | None,
    epsilon: float | Tensor,
    generators: Sequence[np.random.Generator],
) -> Tensor:
    """x_adv: where the objective is to move away, from `classes`, or from the network's answers where there are none.

    epsilon: 0..255 scale. Another image, for the methods that ask for one, is the neighbour in the batch.
    """
    aim = classes, AWAY
    if classes is None or config.objective != "away_from_prediction":
        aim = OBJECTIVES[config.objective](network, x, _no_targets)
    setting = Setting(x, epsilon, config.relative_step_size * epsilon, generators, lambda: x.roll(1, dims=0))
    return attack(network, *aim, setting)


def _no_targets() -> Tensor:
    raise KitError("attack: objective towards_target: there are no targets here; take another objective")


@contextmanager
def crafting(network: nn.Module) -> Iterator[None]:
    """The network with its dropout active, as the authors' program has it, and batch norms that learn nothing."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    for module in modes:
        if isinstance(module, nn.Dropout):
            module.train()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
