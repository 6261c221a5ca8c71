"""Inception ResNet v2 (Szegedy et al., arXiv:1602.07261, section 3.2), with the widths of TF-slim.

Names of parameters are those of timm's `inception_resnet_v2`, without an auxiliary head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.networks.layers import ConvNorm, Inception, Parallel, average_pool, chain, max_pool


class InceptionResnetV2(Inception):
    """Inception ResNet v2 with random weights, for 1000 classes, or 1001 with a background."""

    def __init__(self, classes: int = 1001) -> None:
        layers = {
            "conv2d_1a": ConvNorm(3, 32, 3, stride=2),
            "conv2d_2a": ConvNorm(32, 32, 3, same=False),
            "conv2d_2b": ConvNorm(32, 64, 3),
            "maxpool_3a": max_pool(),
            "conv2d_3b": ConvNorm(64, 80, 1),
            "conv2d_4a": ConvNorm(80, 192, 3, same=False),
            "maxpool_5a": max_pool(),
            "mixed_5b": _mixed_5b(),
            "repeat": nn.Sequential(*(_block_35() for _ in range(10))),
            "mixed_6a": _mixed_6a(),
            "repeat_1": nn.Sequential(*(_block_17() for _ in range(20))),
            "mixed_7a": _mixed_7a(),
            "repeat_2": nn.Sequential(*(_block_8() for _ in range(9))),
            "block8": _block_8(scale=1.0, activation=False),
            "conv2d_7b": ConvNorm(2080, 1536, 1),
        }
        super().__init__(layers, "classif", 1536, classes)


class _Residual(nn.Module):
    """x + scale * (a linear mixture of the branches), then, unless it is the last, ReLU."""

    def __init__(self, channels: int, mixed: int, scale: float, activation: bool, **branches: nn.Module) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)
        self.branches = tuple(branches)
        self.conv2d = nn.Conv2d(mixed, channels, 1)
        self.scale = scale
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.cat([getattr(self, name)(x) for name in self.branches], dim=1)
        y = torch.add(x, self.conv2d(mixed), alpha=self.scale)
        return F.relu(y, inplace=True) if self.activation else y


def _block_35() -> _Residual:
    """35 x 35 (figure 16)."""
    return _Residual(
        320,
        128,
        scale=0.17,
        activation=True,
        branch0=ConvNorm(320, 32, 1),
        branch1=chain(320, (32, 1), (32, 3)),
        branch2=chain(320, (32, 1), (48, 3), (64, 3)),
    )


def _block_17() -> _Residual:
    """17 x 17 (figure 17)."""
    return _Residual(
        1088,
        384,
        scale=0.1,
        activation=True,
        branch0=ConvNorm(1088, 192, 1),
        branch1=chain(1088, (128, 1), (160, (1, 7)), (192, (7, 1))),
    )


def _block_8(scale: float = 0.2, activation: bool = True) -> _Residual:
    """8 x 8 (figure 19)."""
    return _Residual(
        2080,
        448,
        scale,
        activation,
        branch0=ConvNorm(2080, 192, 1),
        branch1=chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1))),
    )


def _mixed_5b() -> Parallel:
    """192 to 320 channels, 35 x 35."""
    return Parallel(
        branch0=ConvNorm(192, 96, 1),
        branch1=chain(192, (48, 1), (64, 5)),
        branch2=chain(192, (64, 1), (96, 3), (96, 3)),
        branch3=nn.Sequential(average_pool(), ConvNorm(192, 64, 1)),
    )


def _mixed_6a() -> Parallel:
    """320 channels to 1088, 17 x 17 (figure 7)."""
    return Parallel(
        branch0=ConvNorm(320, 384, 3, stride=2),
        branch1=nn.Sequential(*chain(320, (256, 1), (256, 3)), ConvNorm(256, 384, 3, stride=2)),
        branch2=max_pool(),
    )


def _mixed_7a() -> Parallel:
    """1088 channels to 2080, 8 x 8 (figure 18)."""
    return Parallel(
        branch0=nn.Sequential(ConvNorm(1088, 256, 1), ConvNorm(256, 384, 3, stride=2)),
        branch1=nn.Sequential(ConvNorm(1088, 256, 1), ConvNorm(256, 288, 3, stride=2)),
        branch2=nn.Sequential(*chain(1088, (256, 1), (288, 3)), ConvNorm(288, 320, 3, stride=2)),
        branch3=max_pool(),
    )
