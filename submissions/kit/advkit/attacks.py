"""Attacks in the L-infinity ball: one loop climbs a gradient by its sign; everything else is a parameter.

A `Gradient` maps x_adv (float32, N x 3 x height x width, 0..1) to the direction to climb, of the same shape.
Attacks differ in how they make it: `loss_gradient` is the plain one; momentum, smoothing, or a mean over
transformed copies is a function from one gradient to another.
Units: epsilon and step_size are on the 0..255 scale, as in the contract.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Network = Callable[[Tensor], Tensor]
Gradient = Callable[[Tensor], Tensor]

AWAY = 1.0
TOWARDS = -1.0


def ascend(
    x: Tensor,
    gradient: Gradient,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    start: Tensor | None = None,
) -> Tensor:
    """Climb `gradient` by its sign from `start` (default x); every iterate is projected on the ball around x.

    One step of size epsilon is FGSM (Goodfellow et al., arXiv:1412.6572, section 4); several are I-FGSM, the
    basic iterative method (Kurakin et al., arXiv:1607.02533, section 2.2); from a random start it is PGD
    (Madry et al., arXiv:1706.06083, section 2.1).
    """
    lowest = (x - epsilon / 255).clamp(min=0)
    highest = (x + epsilon / 255).clamp(max=1)
    x_adv = x if start is None else start
    for _ in range(steps):
        x_adv = (x_adv + step_size / 255 * gradient(x_adv).sign()).clamp(lowest, highest)
    return x_adv


def loss_gradient(network: Network, classes: Tensor, sign: float = AWAY) -> Gradient:
    """Gradient of the cross-entropy to `classes` (int64, N, 0..999): climb AWAY from them or TOWARDS them.

    The loss is summed over the batch, so an image's gradient does not depend on its neighbours.
    """

    def gradient(x_adv: Tensor) -> Tensor:
        x_adv = x_adv.detach().requires_grad_()
        loss = F.cross_entropy(network(x_adv), classes, reduction="sum")
        return sign * torch.autograd.grad(loss, x_adv)[0]

    return gradient


def random_start(x: Tensor, epsilon: float, generators: Sequence[np.random.Generator]) -> Tensor:
    """A uniform point of the ball around each image, cut to 0..1; one generator an image."""
    noise = np.stack([generator.uniform(-epsilon, epsilon, x.shape[1:]) for generator in generators])
    return (x + torch.from_numpy(noise).to(x) / 255).clamp(0, 1)
