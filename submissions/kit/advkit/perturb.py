"""The program of an attack that climbs the gradient which `config.yaml` describes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from advkit.attacks import AWAY, LOSSES, TOWARDS, Network, ascend, loss_gradient, sign_start, uniform_start
from advkit.config import pick
from advkit.images import read_images
from advkit.labels import LabelSpace
from advkit.methods import Setting, make_methods
from advkit.networks import in_precision, load_network, predict
from advkit.run import AttackJob, Batch
from advkit.tensors import batch_size, device, to_pixels, to_tensor


@dataclass(frozen=True)
class Config:
    """Keys of `config.yaml`. Sizes are shares of epsilon; steps * relative_step_size should be at least 1."""

    surrogates: list[str]  # networks of advkit.networks, averaged in logits
    objective: str = "away_from_prediction"  # one of OBJECTIVES
    loss: str = "cross_entropy"  # one of advkit.attacks.LOSSES
    start: str = "clean"  # one of STARTS
    relative_start_size: float = 1.0
    steps: int = 1
    relative_step_size: float = 1.0
    precision: str = "float32"  # or bfloat16, which is faster where the processor has it
    methods: list[dict[str, Any]] = field(default_factory=list)  # of advkit.methods, the innermost first


Targets = Callable[[], Tensor]

Attack = Callable[[Network, Tensor, float, Setting], Tensor]
"""From a network, classes (int64, N), AWAY or TOWARDS, and the setting with the images, to x_adv of their shape."""


def perturb(job: AttackJob) -> None:
    """Write an adversarial version of every image. No true label is known: attacks go by the surrogates' answers."""
    config = job.read_config(Config)
    objective, attack = pick(OBJECTIVES, config.objective, "objective"), make_attack(config)
    surrogate = load_network(*config.surrogates)
    network = in_precision(surrogate, config.precision)
    for batch in job.batches(batch_size(network, *job.image_size)):
        x = to_tensor(batch.pixels)
        classes, sign = objective(network, x, partial(_targets, job, batch, surrogate.labels))
        setting = _setting(job, batch, x, config.relative_step_size * job.epsilon)
        job.save(batch, to_pixels(attack(network, classes, sign, setting)))


def make_attack(config: Config) -> Attack:
    """Raises KitError for a loss, a start or a method that is unknown, and for wrong parameters of a method."""
    loss = pick(LOSSES, config.loss, "loss")
    start = pick(STARTS, config.start, "start")
    methods = make_methods(config.methods)

    def attack(network: Network, classes: Tensor, sign: float, setting: Setting) -> Tensor:
        gradient = loss_gradient(network, classes, sign, loss)
        for method in methods:
            gradient = method(gradient, setting)
        return ascend(
            setting.x,
            gradient,
            epsilon=setting.epsilon,
            step_size=setting.step_size,
            steps=config.steps,
            start=start(setting.x, config.relative_start_size * setting.epsilon, setting.generators),
        )

    return attack


def _targets(job: AttackJob, batch: Batch, labels: LabelSpace) -> Tensor:
    targets = job.target_labels(labels)
    return torch.tensor([labels.class_of(targets[name]) for name in batch.names], device=device())


def _setting(job: AttackJob, batch: Batch, x: Tensor, step_size: float) -> Setting:
    generators = [job.generator(name) for name in batch.names]
    paths = job.image_paths
    places = {path.name: place for place, path in enumerate(paths)}

    def others() -> Tensor:
        drawn = [int(generator.integers(max(len(paths) - 1, 1))) for generator in generators]
        skipped = [place + (place >= places[name]) for place, name in zip(drawn, batch.names, strict=True)]
        return to_tensor(read_images([paths[place % len(paths)] for place in skipped]))

    return Setting(x, job.epsilon, step_size, generators, others)


def _away_from_prediction(network: Network, x: Tensor, targets: Targets) -> tuple[Tensor, float]:
    return predict(network, x), AWAY


def _towards_least_likely(network: Network, x: Tensor, targets: Targets) -> tuple[Tensor, float]:
    return predict(lambda images: -network(images), x), TOWARDS


def _towards_target(network: Network, x: Tensor, targets: Targets) -> tuple[Tensor, float]:
    return targets(), TOWARDS


OBJECTIVES: Mapping[str, Callable[[Network, Tensor, Targets], tuple[Tensor, float]]] = {
    "away_from_prediction": _away_from_prediction,
    "towards_least_likely": _towards_least_likely,
    "towards_target": _towards_target,
}
"""From a network, x and what gives the target classes to classes, int64, N, and whether to climb AWAY or TOWARDS."""

STARTS = {"clean": lambda x, size, generators: x, "uniform": uniform_start, "signs": sign_start}
