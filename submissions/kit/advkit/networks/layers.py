"""What the networks share: resizing, the blocks of the Inceptions, merging batch norms into convolutions."""

from collections import OrderedDict
from collections.abc import Mapping
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from advkit.labels import IMAGENET

Kernel = tuple[int, int]


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU: N x inputs x height x width to N x outputs x ... .

    The padding keeps the size; with a stride, or if not `same`, there is none.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int | Kernel, stride: int = 1, same: bool = True) -> None:
        super().__init__()
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (height // 2, width // 2) if same and stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """The activations, none negative."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Parallel(nn.ModuleDict):
    """Branches side by side on one input; their outputs are concatenated."""

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, x: Tensor) -> Tensor:
        """N x (sum of the branches' channels) x height x width."""
        return torch.cat([branch(x) for branch in self.values()], dim=1)


class Inception(nn.Sequential):
    """Layers for 299 x 299, the mean over the last grid, and a linear classifier named `head`.

    With 1001 classes the first is TF-slim's background, which is never an answer.
    """

    labels = IMAGENET

    def __init__(self, layers: Mapping[str, nn.Module], head: str, channels: int, classes: int) -> None:
        pooling = {"pooling": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "dropout": nn.Dropout(0.2)}
        super().__init__(OrderedDict({**layers, **pooling, head: nn.Linear(channels, classes)}))

    def forward(self, x: Tensor) -> Tensor:
        """Logits N x 1000 (or N x classes) of x, 0..1, of any size."""
        levels = resize(x, 299) * 2 - 1
        logits: Tensor = super().forward(levels.contiguous(memory_format=torch.channels_last))
        return logits[:, 1:] if logits.shape[1] == 1001 else logits


def chain(inputs: int, *layers: tuple[int, int | Kernel]) -> nn.Sequential:
    """ConvNorms one after another, each given by its outputs and its kernel."""
    convolutions = []
    for outputs, kernel in layers:
        convolutions.append(ConvNorm(inputs, outputs, kernel))
        inputs = outputs
    return nn.Sequential(*convolutions)


def max_pool() -> nn.MaxPool2d:
    """Halves the grid."""
    return nn.MaxPool2d(3, stride=2)


def average_pool() -> nn.AvgPool2d:
    """The mean over 3 x 3; at the border, as TensorFlow does, over what lies inside."""
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def fold(network: nn.Module, norm_of: Mapping[str, str]) -> None:
    """Merge batch norms into convolutions: `norm_of` maps the name of a convolution to that of its batch norm.

    The function of the network in evaluation mode stays the same up to rounding.
    """
    for module in list(network.modules()):
        for name, norm in norm_of.items():
            if hasattr(module, name) and hasattr(module, norm):
                setattr(module, name, fuse_conv_bn_eval(getattr(module, name), getattr(module, norm)))
                setattr(module, norm, nn.Identity())


def resize(x: Tensor, size: int) -> Tensor:
    """Bicubic interpolation of N x 3 x height x width to N x 3 x size x size, differentiable.

    Equal to `torch.nn.functional.interpolate` without antialiasing. As two matrix products its gradient is
    twice as fast, and on a GPU the same bits each time.
    """
    height, width = x.shape[2:]
    if height == width == size:
        return x
    with torch.autocast(x.device.type, enabled=False):  # half precision would blur the levels of the pixels
        return _bicubic(height, size, x.device) @ x @ _bicubic(width, size, x.device).T


@cache
def _bicubic(source: int, target: int, device: torch.device) -> Tensor:
    """The matrix target x source that interpolates one dimension."""
    with torch.inference_mode(False):  # what is kept must serve gradients as well
        identity = torch.eye(source, device=device)[None, None]
        return F.interpolate(identity, size=(target, source), mode="bicubic", align_corners=False)[0, 0]
