"""What made attacks transfer: functions from a gradient to one that climbs better on networks it never saw.

Each method takes the gradient within and the `Setting` of the batch, then its own parameters, and returns a
gradient; so they nest, and `config.yaml` lists them from the innermost to the outermost. Units: 0..1 for
images, the 0..255 scale for epsilon and step size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import pi
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.attacks import Gradient
from advkit.config import Range, choose
from advkit.errors import KitError

Method = Callable[[Gradient, "Setting"], Gradient]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class Setting:
    """What a method knows of a batch. others: draws another clean image of the call for each of the batch.

    epsilon, step_size: 0..255 scale, one number or one for each image, N x 1 x 1 x 1.
    """

    x: Tensor
    epsilon: float | Tensor
    step_size: float | Tensor
    generators: Sequence[np.random.Generator]
    others: Callable[[], Tensor]

    def uniform(self, low: float, high: float) -> Tensor:
        """Uniform noise of the shape of x, made where x lies; each image's comes from its own generator."""
        return torch.stack([torch.empty_like(self.x[0]).uniform_(low, high, generator=g) for g in self._noise])

    def normal(self, deviation: float) -> Tensor:
        """Gaussian noise, likewise."""
        return torch.stack([torch.empty_like(self.x[0]).normal_(0, deviation, generator=g) for g in self._noise])

    @cached_property
    def _noise(self) -> list[torch.Generator]:
        seeds = [int(generator.integers(2**63)) for generator in self.generators]
        return [torch.Generator(self.x.device).manual_seed(seed) for seed in seeds]


def momentum(gradient: Gradient, setting: Setting, decay: NotNegative = 1.0, nesterov: bool = False) -> Gradient:
    """Add up gradients, each divided by its mean absolute value (MI-FGSM, Dong et al., arXiv:1710.06081, eq. 6).

    foolbox adds up signs instead. With `nesterov` the gradient is taken one step of the momentum ahead (NI-FGSM,
    Lin et al., arXiv:1908.06281, section 3.1).
    """
    total = torch.zeros_like(setting.x)
    ahead = decay * setting.step_size / 255 if nesterov else 0.0

    def accumulated(x_adv: Tensor) -> Tensor:
        nonlocal total
        found = gradient(x_adv + ahead * total)
        scale = found.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)
        total = decay * total + found / scale
        return total

    return accumulated


def variance(gradient: Gradient, setting: Setting, samples: int = 20, radius: NotNegative = 1.5) -> Gradient:
    """Correct the gradient by how it varied around the last iterate (VMI-FGSM, Wang and He, arXiv:2103.15571, eq. 8).

    samples: neighbours, drawn uniformly within `radius` times epsilon around the point where the gradient was
    taken; inside Nesterov's momentum that is the point ahead, not the iterate as in the authors' program.
    """
    last: tuple[Tensor, Tensor] | None = None
    reach = radius * setting.epsilon / 255

    def tuned(x_adv: Tensor) -> Tensor:
        nonlocal last
        correction = torch.zeros_like(x_adv)
        if last is not None:  # asked for only now: the neighbours of the last iterate are never needed
            x_last, found = last
            around = sum(gradient(x_last + reach * setting.uniform(-1, 1)) for _ in range(samples))
            correction = around / samples - found
        last = x_adv, gradient(x_adv)
        return last[1] + correction

    return tuned


def smoothing(gradient: Gradient, setting: Setting, size: int = 15, deviations: float = 3.0) -> Gradient:
    """Blur the gradient: about the mean over shifted images (TI-FGSM, Dong et al., arXiv:1904.02884, section 3.3).

    size: odd width of the Gaussian kernel in pixels; its half is `deviations` standard deviations, as the
    authors have it. Zeros stand outside the image. Two passes with a line are one with the square kernel, up to
    rounding, of which ten steps on a deep network make a different image. Raises KitError for an even size.
    """
    if size % 2 == 0:
        raise KitError(f"method smoothing: size {size} is even, so the kernel has no middle; take {size + 1}")
    line = torch.exp(-(torch.linspace(-deviations, deviations, size) ** 2) / 2)
    channels = setting.x.shape[1]
    line = (line / line.sum()).to(setting.x).expand(channels, 1, -1)

    def blurred(x_adv: Tensor) -> Tensor:
        rows = F.conv2d(gradient(x_adv), line[..., None], padding=(size // 2, 0), groups=channels)
        return F.conv2d(rows, line[:, :, None], padding=(0, size // 2), groups=channels)

    return blurred


def diversity(
    gradient: Gradient,
    setting: Setting,
    relative_size: Annotated[float, Range(1)] = 1.1,
    probability: Share = 0.5,
) -> Gradient:
    """Enlarge each image at random, pad it at random to `relative_size`, and bring it back to its size.

    An image is left as it is with 1 - `probability`. Source: DI-FGSM, Xie et al., arXiv:1803.06978, section 3.3
    (299..330 pixels, that is 1.1). Each image has its own draw; the interpolation is bilinear, the padding black.
    The authors of TI-FGSM pad with the middle grey, take the nearest pixel, draw once for a batch and show the network
    the enlarged image.
    """
    sides = setting.x.shape[2:]

    def draw() -> Callable[[Tensor], Tensor]:
        drawn = [_placing(generator, sides, relative_size, probability) for generator in setting.generators]
        rows, columns = (torch.stack(matrices)[:, None].to(setting.x) for matrices in zip(*drawn, strict=True))
        return lambda x_adv: rows @ x_adv @ columns.mT

    return lambda x_adv: _through(draw(), gradient, x_adv)


def scales(gradient: Gradient, setting: Setting, copies: int = 5) -> Gradient:
    """The mean over x, x/2, x/4, ... (SI-FGSM, Lin et al., arXiv:1908.06281, section 3.2).

    Images are 0..1 here, so copies get darker; in the authors' program they are -1..1, so copies get greyer. The
    order of the sum is free, and its rounding makes other images than torchattacks' in float32, not in float64.
    """
    factors = [0.5**power for power in range(copies)]
    return lambda x_adv: sum(factor * gradient(factor * x_adv) for factor in factors) / copies


def admix(gradient: Gradient, setting: Setting, copies: int = 3, share: NotNegative = 0.2) -> Gradient:
    """The mean over x plus `share` of another image of the call (Admix, Wang et al., arXiv:2102.00436, section 3.3)."""
    return lambda x_adv: sum(gradient(x_adv + share * setting.others()) for _ in range(copies)) / copies


def spectrum(
    gradient: Gradient, setting: Setting, copies: int = 20, spread: Share = 0.5, deviation: NotNegative = 16.0
) -> Gradient:
    """The mean over images with Gaussian noise whose cosine spectrum is scaled at random in 1 +- `spread`.

    deviation: of the noise, 0..255 scale. Source: SSA, Long et al., arXiv:2207.05382, section 3.2. The authors'
    program takes the gradient at the changed image for that of the image; here it goes through the change.
    """
    height, width = (_cosines(side).to(setting.x) for side in setting.x.shape[2:])

    def change(x: Tensor) -> Tensor:
        noisy = x + setting.normal(deviation / 255)
        return height.T @ (height @ noisy @ width.T * setting.uniform(1 - spread, 1 + spread)) @ width

    return lambda x_adv: sum(_through(change, gradient, x_adv) for _ in range(copies)) / copies


METHODS: Mapping[str, Callable[..., Gradient]] = {
    "momentum": momentum,
    "variance": variance,
    "smoothing": smoothing,
    "diversity": diversity,
    "scales": scales,
    "admix": admix,
    "spectrum": spectrum,
}


def make_methods(descriptions: Sequence[Mapping[str, Any]]) -> list[Method]:
    """Methods from a configuration: mappings that hold the `name` of a method and its parameters.

    Raises KitError for an unknown name, and for parameters that are not those of the method.
    """
    chosen = [choose(METHODS, description, "method", ("gradient", "setting")) for description in descriptions]
    return [partial(method, **arguments) for method, arguments in chosen]


def _through(change: Callable[[Tensor], Tensor], gradient: Gradient, x_adv: Tensor) -> Tensor:
    """The gradient at `change(x_adv)`, carried back to x_adv by the chain rule."""
    x_adv = x_adv.detach().requires_grad_()
    changed = change(x_adv)
    return torch.autograd.grad(changed, x_adv, gradient(changed))[0]


def _placing(
    generator: np.random.Generator, sides: Sequence[int], relative_size: float, probability: float
) -> tuple[Tensor, Tensor]:
    """The two matrices, for rows and for columns, that enlarge, pad and shrink one image."""
    if generator.uniform() >= probability:
        height, width = (torch.eye(side) for side in sides)
        return height, width
    scale = generator.uniform(1, relative_size)
    places = generator.uniform(size=2)
    height, width = (
        _place(side, round(side * scale), round(side * relative_size), place)
        for side, place in zip(sides, places, strict=True)
    )
    return height, width


def _place(side: int, enlarged: int, padded: int, place: float) -> Tensor:
    """side x side: `side` pixels become `enlarged`, lie at `place` (0..1) among `padded`, and become `side` again."""
    begin = int(place * (padded - enlarged + 1))
    return _bilinear(padded, side)[:, begin : begin + enlarged] @ _bilinear(side, enlarged)


@cache
def _bilinear(source: int, target: int) -> Tensor:
    """The matrix target x source that interpolates one dimension."""
    identity = torch.eye(source)[None]
    return F.interpolate(identity, size=target, mode="linear", align_corners=False)[0].T.contiguous()


@cache
def _cosines(side: int) -> Tensor:
    """The orthonormal matrix of the discrete cosine transform, side x side, float64."""
    place = torch.arange(side, dtype=torch.float64)
    matrix = torch.cos(pi / side * (place + 0.5) * place[:, None]) * (2 / side) ** 0.5
    matrix[0] /= 2**0.5
    return matrix
