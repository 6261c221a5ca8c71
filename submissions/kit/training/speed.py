"""How fast a training was, against what the machine can do at best."""

import time
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from advkit.networks import in_precision
from advkit.networks.small import SMALL
from advkit.tensors import device
from training.adversary import Crafter
from training.data import Data
from training.recipe import Model
from training.train import batches

STEPS = 8
"""Batches whose operations are counted: enough that most sources of an ensemble are among them."""

SIDE, SECONDS = 2048, 1.0


def operations_per_image(model: Model, data: Data, static: Sequence[nn.Module]) -> float:
    """Multiplications and additions that learning from one clean image takes, with its adversarial example."""
    network = SMALL[model.architecture]().to(device()).train()
    crafter = Crafter(model.adversarial, network, static, model.precision) if model.adversarial else None
    generator = np.random.default_rng(0)
    with FlopCounterMode(display=False) as counter:
        for _, (x, y) in zip(range(STEPS), batches(model, data, generator), strict=False):
            images, classes, _ = crafter.mixed(x, y, generator) if crafter else (x, y, len(x))
            F.cross_entropy(in_precision(network, model.precision)(images), classes).backward()
    return counter.get_total_flops() / (STEPS * model.batch)


def peak(precision: str) -> float:
    """Operations a second of this process's threads, or of the GPU, in products of large matrices."""
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    matrix = torch.zeros(SIDE, SIDE, dtype=kind, device=device())
    count, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < SECONDS or count < 2:
        matrix @ matrix
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        count += 1
    return count * 2 * SIDE**3 / taken
