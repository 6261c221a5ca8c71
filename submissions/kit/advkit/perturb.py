"""The program of an attack that climbs the gradient which `config.yaml` describes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from advkit.attacks import AWAY, LOSSES, TOWARDS, Gradient, Network, ascend, loss_gradient, sign_start, uniform_start
from advkit.config import pick
from advkit.images import read_images
from advkit.labels import class_of
from advkit.methods import Method, Setting, make_methods
from advkit.networks import in_precision, load_network, predict
from advkit.run import AttackJob, Batch
from advkit.tensors import batch_size, to_pixels, to_tensor


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


def perturb(job: AttackJob) -> None:
    """Write an adversarial version of every image. No true label is known: attacks go by the surrogates' answers."""
    config = job.read_config(Config)
    objective = pick(OBJECTIVES, config.objective, "objective")
    loss = pick(LOSSES, config.loss, "loss")
    start = pick(STARTS, config.start, "start")
    methods = make_methods(config.methods)
    network = in_precision(load_network(*config.surrogates), config.precision)
    step_size = config.relative_step_size * job.epsilon
    for batch in job.batches(batch_size(network, *job.image_size)):
        x = to_tensor(batch.pixels)
        classes, sign = objective(job, batch, network, x)
        setting = _setting(job, batch, x, step_size)
        x_adv = ascend(
            x,
            _improved(loss_gradient(network, classes, sign, loss), methods, setting),
            epsilon=job.epsilon,
            step_size=step_size,
            steps=config.steps,
            start=start(x, config.relative_start_size * job.epsilon, setting.generators),
        )
        job.save(batch, to_pixels(x_adv))


def _improved(gradient: Gradient, methods: list[Method], setting: Setting) -> Gradient:
    for method in methods:
        gradient = method(gradient, setting)
    return gradient


def _setting(job: AttackJob, batch: Batch, x: Tensor, step_size: float) -> Setting:
    generators = [job.generator(name) for name in batch.names]
    choices = [[path for path in job.image_paths if path.name != name] or job.image_paths for name in batch.names]

    def others() -> Tensor:
        paths = [paths[generator.integers(len(paths))] for paths, generator in zip(choices, generators, strict=True)]
        return to_tensor(read_images(paths))

    return Setting(x, job.epsilon, step_size, generators, others)


def _away_from_prediction(job: AttackJob, batch: Batch, network: Network, x: Tensor) -> tuple[Tensor, float]:
    return predict(network, x), AWAY


def _towards_least_likely(job: AttackJob, batch: Batch, network: Network, x: Tensor) -> tuple[Tensor, float]:
    return predict(lambda images: -network(images), x), TOWARDS


def _towards_target(job: AttackJob, batch: Batch, network: Network, x: Tensor) -> tuple[Tensor, float]:
    targets = job.target_labels()
    return torch.tensor([class_of(targets[name]) for name in batch.names], device=x.device), TOWARDS


OBJECTIVES: Mapping[str, Callable[[AttackJob, Batch, Network, Tensor], tuple[Tensor, float]]] = {
    "away_from_prediction": _away_from_prediction,
    "towards_least_likely": _towards_least_likely,
    "towards_target": _towards_target,
}

STARTS = {"clean": lambda x, size, generators: x, "uniform": uniform_start, "signs": sign_start}
