"""Inception v3 (Szegedy et al., arXiv:1512.00567, section 6), with the widths of TF-slim.

Names of parameters are those of timm's `inception_v3`, without an auxiliary head.
"""

import torch
from torch import Tensor, nn

from advkit.networks.layers import ConvNorm, Inception, average_pool, max_pool


class InceptionV3(Inception):
    """Inception v3 with random weights, for 1000 classes, or 1001 with a background."""

    def __init__(self, classes: int = 1001) -> None:
        layers = {
            "Conv2d_1a_3x3": ConvNorm(3, 32, 3, stride=2),
            "Conv2d_2a_3x3": ConvNorm(32, 32, 3, same=False),
            "Conv2d_2b_3x3": ConvNorm(32, 64, 3),
            "MaxPool_3a": max_pool(),
            "Conv2d_3b_1x1": ConvNorm(64, 80, 1),
            "Conv2d_4a_3x3": ConvNorm(80, 192, 3, same=False),
            "MaxPool_5a": max_pool(),
            "Mixed_5b": _block_a(192, pooled=32),
            "Mixed_5c": _block_a(256, pooled=64),
            "Mixed_5d": _block_a(288, pooled=64),
            "Mixed_6a": _reduction_a(),
            "Mixed_6b": _block_b(128),
            "Mixed_6c": _block_b(160),
            "Mixed_6d": _block_b(160),
            "Mixed_6e": _block_b(192),
            "Mixed_7a": _reduction_b(),
            "Mixed_7b": _BlockC(1280),
            "Mixed_7c": _BlockC(2048),
        }
        super().__init__(layers, "fc", 2048, classes)


class _Block(nn.Module):
    """Branches side by side; each is a chain of layers with the block's own names for them, after a pool or none."""

    def __init__(self, *branches: dict[str, nn.Module]) -> None:
        super().__init__()
        for branch in branches:
            for name, layer in branch.items():
                self.add_module(name, layer)
        self.branches = [tuple(branch) for branch in branches]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._follow(branch, x) for branch in self.branches], dim=1)

    def _follow(self, branch: tuple[str, ...], x: Tensor) -> Tensor:
        for name in branch:
            x = getattr(self, name)(x)
        return x


def _block_a(inputs: int, pooled: int) -> _Block:
    """35 x 35 (figure 5; the first 3 x 3 convolution of a pair is 5 x 5)."""
    return _Block(
        {"branch1x1": ConvNorm(inputs, 64, 1)},
        {"branch5x5_1": ConvNorm(inputs, 48, 1), "branch5x5_2": ConvNorm(48, 64, 5)},
        {
            "branch3x3dbl_1": ConvNorm(inputs, 64, 1),
            "branch3x3dbl_2": ConvNorm(64, 96, 3),
            "branch3x3dbl_3": ConvNorm(96, 96, 3),
        },
        {"pool": average_pool(), "branch_pool": ConvNorm(inputs, pooled, 1)},
    )


def _reduction_a() -> _Block:
    """288 channels to 768, 17 x 17 (figure 10)."""
    return _Block(
        {"branch3x3": ConvNorm(288, 384, 3, stride=2)},
        {
            "branch3x3dbl_1": ConvNorm(288, 64, 1),
            "branch3x3dbl_2": ConvNorm(64, 96, 3),
            "branch3x3dbl_3": ConvNorm(96, 96, 3, stride=2),
        },
        {"pool": max_pool()},
    )


def _block_b(width: int) -> _Block:
    """768 channels, 17 x 17 (figure 6); `width` is that of the factorised 7 x 7 convolutions."""
    return _Block(
        {"branch1x1": ConvNorm(768, 192, 1)},
        {
            "branch7x7_1": ConvNorm(768, width, 1),
            "branch7x7_2": ConvNorm(width, width, (1, 7)),
            "branch7x7_3": ConvNorm(width, 192, (7, 1)),
        },
        {
            "branch7x7dbl_1": ConvNorm(768, width, 1),
            "branch7x7dbl_2": ConvNorm(width, width, (7, 1)),
            "branch7x7dbl_3": ConvNorm(width, width, (1, 7)),
            "branch7x7dbl_4": ConvNorm(width, width, (7, 1)),
            "branch7x7dbl_5": ConvNorm(width, 192, (1, 7)),
        },
        {"pool": average_pool(), "branch_pool": ConvNorm(768, 192, 1)},
    )


def _reduction_b() -> _Block:
    """768 channels to 1280, 8 x 8."""
    return _Block(
        {"branch3x3_1": ConvNorm(768, 192, 1), "branch3x3_2": ConvNorm(192, 320, 3, stride=2)},
        {
            "branch7x7x3_1": ConvNorm(768, 192, 1),
            "branch7x7x3_2": ConvNorm(192, 192, (1, 7)),
            "branch7x7x3_3": ConvNorm(192, 192, (7, 1)),
            "branch7x7x3_4": ConvNorm(192, 192, 3, stride=2),
        },
        {"pool": max_pool()},
    )


class _BlockC(nn.Module):
    """To 2048 channels, 8 x 8 (figure 7): two of the branches fork."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 320, 1)
        self.branch3x3_1 = ConvNorm(inputs, 384, 1)
        self.branch3x3_2a = ConvNorm(384, 384, (1, 3))
        self.branch3x3_2b = ConvNorm(384, 384, (3, 1))
        self.branch3x3dbl_1 = ConvNorm(inputs, 448, 1)
        self.branch3x3dbl_2 = ConvNorm(448, 384, 3)
        self.branch3x3dbl_3a = ConvNorm(384, 384, (1, 3))
        self.branch3x3dbl_3b = ConvNorm(384, 384, (3, 1))
        self.pool = average_pool()
        self.branch_pool = ConvNorm(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        short = self.branch3x3_1(x)
        long = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        forks = [
            self.branch3x3_2a(short),
            self.branch3x3_2b(short),
            self.branch3x3dbl_3a(long),
            self.branch3x3dbl_3b(long),
        ]
        return torch.cat([self.branch1x1(x), *forks, self.branch_pool(self.pool(x))], dim=1)
