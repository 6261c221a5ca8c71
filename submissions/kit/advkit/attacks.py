"""Attacks in the L-infinity ball: one loop climbs a gradient by its sign; everything else is a parameter.

A `Gradient` maps x_adv (float32, N x 3 x height x width, 0..1) to the direction to climb, of the same shape.
`loss_gradient` is the plain one; `advkit.methods` holds functions from one gradient to another.
Units: epsilon, step_size and the sizes of starts are on the 0..255 scale, as in the contract; a number, or one for each
image, N x 1 x 1 x 1.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Network = Callable[[Tensor], Tensor]
Gradient = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]

AWAY = 1.0
TOWARDS = -1.0


def ascend(
    x: Tensor,
    gradient: Gradient,
    *,
    epsilon: float | Tensor,
    step_size: float | Tensor,
    steps: int,
    start: Tensor | None = None,
) -> Tensor:
    """Climb `gradient` by its sign from `start` (default x); every iterate is projected on the ball around x.

    One step of size epsilon is FGSM (Goodfellow et al., arXiv:1412.6572, section 4); several are I-FGSM, the
    basic iterative method (Kurakin et al., arXiv:1607.02533, section 2.2); from a random start it is PGD
    (Madry et al., arXiv:1706.06083, section 2.1).

    The difference from x is cut and added again, as most libraries do: of one other last bit in float32, ten steps on
    a deep network make a different image (tests/oracles/attacks.md).
    """
    radius = epsilon / 255
    x_adv = x if start is None else start
    for _ in range(steps):
        stepped = x_adv + step_size / 255 * gradient(x_adv).sign()
        x_adv = (x + (stepped - x).clamp(-radius, radius)).clamp(0, 1)
    return x_adv


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """-log softmax of each image's class, N."""
    return F.cross_entropy(logits, classes, reduction="none")


def logit(logits: Tensor, classes: Tensor) -> Tensor:
    """Minus the logit of each image's class, N: its gradient does not fade as the class gets likely.

    Source: Zhao, Liu, Larson, On Success and Simplicity, arXiv:2012.11207, section 3.2.
    """
    return -logits.gather(1, classes[:, None])[:, 0]


def margin(logits: Tensor, classes: Tensor) -> Tensor:
    """The best other logit minus that of each image's class, N: above zero the class is not the answer.

    Source: Carlini and Wagner, arXiv:1608.04644, section V-A, f_6 without its bound.
    """
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return others.amax(dim=1) + logit(logits, classes)


LOSSES: Mapping[str, Loss] = {"cross_entropy": cross_entropy, "logit": logit, "margin": margin}


def loss_gradient(network: Network, classes: Tensor, sign: float = AWAY, loss: Loss = cross_entropy) -> Gradient:
    """Gradient of `loss` for `classes` (int64, N, 0..999): climb AWAY from them or TOWARDS them.

    The loss is summed over the batch, so an image's gradient does not depend on its neighbours.
    """

    def gradient(x_adv: Tensor) -> Tensor:
        x_adv = x_adv.detach().requires_grad_()
        return sign * torch.autograd.grad(loss(network(x_adv), classes).sum(), x_adv)[0]

    return gradient


def uniform_start(x: Tensor, size: float | Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """A uniform point of the ball of radius `size` around each image, cut to 0..1; one generator an image."""
    return _moved(x, size, [generator.uniform(-1, 1, x.shape[1:]) for generator in generators])


def sign_start(x: Tensor, size: float | Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """A random corner of the ball of radius `size` around each image, cut to 0..1: the sign of Gaussian noise.

    Source: the random step of R+FGSM, Tramer et al., arXiv:1705.07204, section 4.1.
    """
    return _moved(x, size, [generator.choice([-1.0, 1.0], x.shape[1:]) for generator in generators])


def _moved(x: Tensor, size: float | Tensor, directions: Sequence[np.ndarray]) -> Tensor:
    return (x + size / 255 * torch.from_numpy(np.stack(directions)).to(x)).clamp(0, 1)
