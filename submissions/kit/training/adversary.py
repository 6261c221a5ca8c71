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
from torch import Tensor, nn

from advkit.attacks import AWAY, TOWARDS
from advkit.config import check_arguments, parameters_of, pick
from advkit.methods import Setting
from advkit.networks import in_precision, predict
from advkit.perturb import Attack, Config, make_attack

AIMS = ("away_from_prediction", "towards_least_likely")
"""What `objective` may be here. Where true classes are given, it is away from these."""

NOT_OF_AN_ATTACK = ("surrogates", "precision")
"""Keys of a config.yaml that are the network's own here."""


@dataclass(frozen=True)
class Adversary:
    """Keys of `adversary` in a recipe."""

    epsilon: float  # 0..255 scale
    attack: dict[str, Any] = field(default_factory=dict)  # keys of an attack's config.yaml; nothing is FGSM
    sources: list[str] = field(default_factory=list)  # static sources, trained before
    drawn_epsilon: str = "fixed"  # one of DRAWS: by what the epsilon of a batch is multiplied
    label: str = "predicted"  # which class FGSM moves away from: the source's own answer, or the true one
    replaced: str = "full"  # the adversarial batch stands beside the whole clean one, or instead of its second half


def _truncated_normal(generator: np.random.Generator) -> float:
    """The absolute value of a normal deviate of deviation 1/2, drawn again until it is at most 1.

    Source: Kurakin et al., Adversarial Machine Learning at Scale, arXiv:1611.01236, section 3.
    """
    while (value := abs(generator.normal(0, 0.5))) > 1:
        pass
    return float(value)


DRAWS: Mapping[str, Callable[[np.random.Generator], float]] = {
    "fixed": lambda generator: 1.0,
    "uniform": lambda generator: float(generator.uniform()),
    "truncated_normal": _truncated_normal,
}


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
        if self.adversary.replaced == "full":
            return torch.cat([x, self.examples(x, y, generator)]), torch.cat([y, y]), len(x)
        clean = len(x) // 2
        return torch.cat([x[:clean], self.examples(x[clean:], y[clean:], generator)]), y, clean

    def examples(self, x: Tensor, y: Tensor, generator: np.random.Generator) -> Tensor:
        """x_adv of x, N x channels x height x width, 0..1, with true classes y; a constant for the gradient."""
        source = self.sources[generator.integers(len(self.sources))]
        epsilon = self.adversary.epsilon * self.draw(generator)
        true = y if self.adversary.label == "true" else None
        network = in_precision(source, self.precision)
        with crafting(source):
            return perturbed(self.attack, self.config, network, x, true, epsilon, [generator] * len(x)).detach()


def attack_config(keys: Mapping[str, Any]) -> Config:
    """The keys of an attack's config.yaml, but for its surrogates and precision. Raises KitError for a wrong one."""
    parameters = {name: value for name, value in parameters_of(Config).items() if name not in NOT_OF_AN_ATTACK}
    check_arguments("attack", keys, parameters)
    config = Config(surrogates=[], **keys)
    pick(dict.fromkeys(AIMS), config.objective, "attack: objective")
    return config


def perturbed(
    attack: Attack,
    config: Config,
    network: Callable[[Tensor], Tensor],
    x: Tensor,
    true: Tensor | None,
    epsilon: float,
    generators: Sequence[np.random.Generator],
) -> Tensor:
    """x_adv: away from the class `true`, or from the network's answer where that is None, or to the least likely.

    epsilon: 0..255 scale. Another image, for the methods that ask for one, is the neighbour in the batch.
    """
    if config.objective == "towards_least_likely":
        classes, sign = predict(lambda images: -network(images), x), TOWARDS
    else:
        classes, sign = predict(network, x) if true is None else true, AWAY
    setting = Setting(x, epsilon, config.relative_step_size * epsilon, generators, lambda: x.roll(1, dims=0))
    return attack(network, classes, sign, setting)


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
