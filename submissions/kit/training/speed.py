"""How fast a training was, against what the machine can do at best."""

import time
from collections.abc import Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from advkit.networks.small import SMALL
from advkit.tensors import device
from training.adversary import attack_config
from training.recipe import Model

SIDE, SECONDS = 2048, 1.0


def operations_per_image(model: Model, models: Mapping[str, Model]) -> float:
    """Multiplications and additions that learning from one image takes, with its adversarial example.

    Counted in forward passes: three for an image that is learned from, two for a gradient of the input, one for an
    answer. models: the recipe's networks, static sources among them.
    """
    own = _forward(model.architecture)
    if (adversary := model.adversary) is None:
        return 3 * own
    sources = [own, *(_forward(models[name].architecture) for name in adversary.sources)]
    config = attack_config(adversary.attack)
    asked = adversary.label == "predicted" or config.objective == "towards_least_likely"
    crafting = sum(sources) / len(sources) * (asked + 2 * config.steps)
    return 2 * 3 * own + crafting if adversary.batches == "full" else 3 * own + crafting / 2


def _forward(architecture: str) -> float:
    """Operations of a network for one image."""
    network = SMALL[architecture]().eval()
    pictures = network.pictures
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, pictures.channels, pictures.side, pictures.side))
    return float(counter.get_total_flops())


def peak(precision: str) -> float:
    """Operations a second of this process's threads, or of the GPU, in products of large matrices."""
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    matrix = torch.randn(SIDE, SIDE, dtype=kind, device=device())
    matrix @ matrix  # the first product also loads the library
    count, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < SECONDS or count < 2:
        matrix @ matrix
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        count += 1
    return count * 2 * SIDE**3 / taken
