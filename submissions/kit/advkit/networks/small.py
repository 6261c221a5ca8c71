"""Small classifiers of ten classes, for digits of 28 x 28 and for colour pictures of 32 x 32.

`SMALL` builds each with random weights. Those that were trained come from advkit/trained, by `load_trained`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.labels import CIFAR10, DIGITS, LabelSpace
from advkit.networks.layers import ConvNorm, average_pool, chain, max_pool, resize

CLASSES = 10


@dataclass(frozen=True)
class Pictures:
    """What a network looks at: side x side pixels; mean and deviation of each of its channels, 0..1."""

    labels: LabelSpace
    side: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def channels(self) -> int:
        return len(self.mean)


GREY = Pictures(DIGITS, 28, mean=(0.0,), deviation=(1.0,))
"""Digits as they are, like the networks of Tramer et al."""

COLOUR = Pictures(CIFAR10, 32, mean=(0.4914, 0.4822, 0.4465), deviation=(0.2470, 0.2435, 0.2616))
"""Mean and deviation are those of the training pictures of CIFAR-10."""


class SmallNetwork(nn.Module):
    """A body of layers for pictures that are brought to its size, its channels and its scale."""

    def __init__(self, body: nn.Sequential, pictures: Pictures) -> None:
        super().__init__()
        self.body = body
        self.pictures = pictures

    @property
    def labels(self) -> LabelSpace:
        """The label space of the answers."""
        return self.pictures.labels

    def forward(self, x: Tensor) -> Tensor:
        """Logits N x 10 of x, N x 1 or 3 x height x width, 0..1; of three channels a grey network takes the mean."""
        x = resize(x, self.pictures.side)
        if self.pictures.channels == 1:
            x = x.mean(dim=1, keepdim=True)
        mean, deviation = (
            torch.tensor(values, device=x.device)[:, None, None]
            for values in (self.pictures.mean, self.pictures.deviation)
        )
        logits: Tensor = self.body(((x - mean) / deviation).contiguous(memory_format=torch.channels_last))
        return logits


class InceptionModule(nn.Module):
    """Four branches of one width: 1 x 1, 3 x 3, two of 3 x 3, and a mean (Szegedy et al., arXiv:1512.00567, figure 5).

    All begin with a convolution of 1 x 1; the four are computed as one, which is faster, and the mean comes after its
    own instead of before, on fewer channels.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branches1x1 = ConvNorm(inputs, 4 * width, 1)
        self.branch3x3 = ConvNorm(width, width, 3)
        self.branch3x3dbl = chain(width, (width, 3), (width, 3))
        self.pool = average_pool()

    def forward(self, x: Tensor) -> Tensor:
        """N x (4 * width) x height x width."""
        single, short, long, pooled = self.branches1x1(x).chunk(4, dim=1)
        return torch.cat([single, self.branch3x3(short), self.branch3x3dbl(long), self.pool(pooled)], dim=1)


class PreActivation(nn.Module):
    """Two 3 x 3 convolutions, each after batch norm and ReLU, beside a shortcut (He et al., arXiv:1603.05027)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """N x outputs x height/stride x width/stride."""
        active = F.relu(self.norm1(x))
        shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(active)
        return shortcut + self.conv2(F.relu(self.norm2(self.conv1(active))))


class Dense(nn.Module):
    """A 3 x 3 convolution after batch norm and ReLU adds channels to its input (Huang et al., arXiv:1608.06993)."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, growth, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """N x (inputs + growth) x height x width."""
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], dim=1)


def model_a() -> nn.Sequential:
    """Model A of Tramer et al., arXiv:1705.07204, appendix A."""
    convolutions = [nn.Conv2d(1, 64, 5), nn.ReLU(), nn.Conv2d(64, 64, 5), nn.ReLU()]
    return nn.Sequential(*convolutions, *_dense_tail(64 * 20 * 20))


def model_b() -> nn.Sequential:
    """Model B, likewise."""
    convolutions = [nn.Conv2d(1, 64, 8, 2, 3), nn.ReLU(), nn.Conv2d(64, 128, 6, 2), nn.ReLU(), nn.Conv2d(128, 128, 5)]
    return nn.Sequential(
        nn.Dropout(0.2), *convolutions, nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(128, CLASSES)
    )


def model_c() -> nn.Sequential:
    """Model C, likewise."""
    convolutions = [nn.Conv2d(1, 128, 3), nn.ReLU(), nn.Conv2d(128, 64, 3), nn.ReLU()]
    return nn.Sequential(*convolutions, *_dense_tail(64 * 24 * 24))


def model_d() -> nn.Sequential:
    """Model D, likewise: no convolution."""
    widths = [28 * 28, 300, 300, 300, 300]
    hidden = [
        layer
        for inputs, outputs in pairwise(widths)
        for layer in (nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(0.5))
    ]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(300, CLASSES))


def inception(stem: Sequence[tuple[int, int]], *stages: Sequence[int]) -> nn.Sequential:
    """A stem of (inputs, outputs) convolutions, stages of modules of a width, each after a pool; no dense tail."""
    layers: list[nn.Module] = [ConvNorm(inputs, outputs, 3) for inputs, outputs in stem]
    channels = stem[-1][1]
    for widths in stages:
        layers.append(max_pool())
        for width in widths:
            layers.append(InceptionModule(channels, width))
            channels = 4 * width
    return nn.Sequential(*layers, *_pooled(channels))


def resnet(inputs: int, widths: Sequence[int], blocks: int = 1) -> nn.Sequential:
    """Pre-activation blocks, `blocks` for each width; each width after the first halves the grid."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, widths[0], 3, 1, 1, bias=False)]
    channels = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(PreActivation(channels, width, stride=2 if stage and not block else 1))
            channels = width
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), *_pooled(channels))


def vgg(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """Two 3 x 3 convolutions and a pool for each width (Simonyan and Zisserman, arXiv:1409.1556)."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [ConvNorm(inputs, width, 3), ConvNorm(width, width, 3), nn.MaxPool2d(2)]
        inputs = width
    return nn.Sequential(*layers[:-1], *_pooled(inputs))


def network_in_network(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """A 5 x 5 convolution and two of 1 x 1 for each width, then a pool (Lin et al., arXiv:1312.4400)."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [ConvNorm(inputs, width, 5), ConvNorm(width, width, 1), ConvNorm(width, width, 1), nn.MaxPool2d(2)]
        inputs = width
    return nn.Sequential(*layers[:-1], *_pooled(inputs))


def densenet(inputs: int, growth: int, blocks: Sequence[int]) -> nn.Sequential:
    """Dense layers, so many for each block; between blocks half of the channels go on, on half of the grid."""
    channels = 2 * growth
    layers: list[nn.Module] = [nn.Conv2d(inputs, channels, 3, 1, 1, bias=False)]
    for number, count in enumerate(blocks):
        if number:
            layers += [ConvNorm(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
        layers += [Dense(channels + done * growth, growth) for done in range(count)]
        channels += count * growth
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), *_pooled(channels))


def _dense_tail(inputs: int) -> list[nn.Module]:
    dense = [nn.Linear(inputs, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, CLASSES)]
    return [nn.Dropout(0.25), nn.Flatten(), *dense]


def _pooled(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


BODIES: Mapping[str, tuple[Pictures, Callable[[], nn.Sequential]]] = {
    "model_a": (GREY, model_a),
    "model_b": (GREY, model_b),
    "model_c": (GREY, model_c),
    "model_d": (GREY, model_d),
    "grey_inception": (GREY, partial(inception, [(1, 32)], [32], [48, 48])),
    "grey_resnet": (GREY, partial(resnet, 1, [16, 32, 64])),
    "grey_vgg": (GREY, partial(vgg, 1, [16, 32, 64])),
    "colour_inception": (COLOUR, partial(inception, [(3, 32), (32, 64)], [48, 48], [80, 80, 96])),
    "colour_resnet": (COLOUR, partial(resnet, 3, [32, 64, 128])),
    "colour_vgg": (COLOUR, partial(vgg, 3, [32, 64, 128])),
    "colour_nin": (COLOUR, partial(network_in_network, 3, [64, 96, 128])),
    "colour_densenet": (COLOUR, partial(densenet, 3, 16, [4, 4, 4])),
}


def _network(pictures: Pictures, body: Callable[[], nn.Sequential]) -> SmallNetwork:
    return SmallNetwork(body(), pictures)


SMALL: Mapping[str, Callable[[], SmallNetwork]] = {name: partial(_network, *parts) for name, parts in BODIES.items()}
