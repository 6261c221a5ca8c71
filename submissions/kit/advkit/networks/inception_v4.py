"""Inception v4 (Szegedy et al., arXiv:1602.07261, section 3.1).

Names of parameters are those of timm's `inception_v4`, without an auxiliary head.
"""

import torch
from torch import Tensor, nn

from advkit.networks.layers import ConvNorm, Inception, Parallel, average_pool, chain, max_pool


class InceptionV4(Inception):
    """Inception v4 with random weights, for 1000 classes, or 1001 with a background."""

    def __init__(self, classes: int = 1001) -> None:
        stem = [
            ConvNorm(3, 32, 3, stride=2),
            ConvNorm(32, 32, 3, same=False),
            ConvNorm(32, 64, 3),
            Parallel(maxpool=max_pool(), conv=ConvNorm(64, 96, 3, stride=2)),
            _stem_branches(),
            Parallel(conv=ConvNorm(192, 192, 3, stride=2), maxpool=max_pool()),
        ]
        coarse = [*(_block_a() for _ in range(4)), _reduction_a()]
        fine = [*(_block_b() for _ in range(7)), _reduction_b()]
        last = [_BlockC() for _ in range(3)]
        super().__init__({"features": nn.Sequential(*stem, *coarse, *fine, *last)}, "last_linear", 1536, classes)


def _stem_branches() -> Parallel:
    """160 channels, 73 x 73, to 192 channels, 71 x 71."""
    return Parallel(
        branch0=nn.Sequential(ConvNorm(160, 64, 1), ConvNorm(64, 96, 3, same=False)),
        branch1=nn.Sequential(*chain(160, (64, 1), (64, (1, 7)), (64, (7, 1))), ConvNorm(64, 96, 3, same=False)),
    )


def _block_a() -> Parallel:
    """384 channels, 35 x 35 (figure 4)."""
    return Parallel(
        branch0=ConvNorm(384, 96, 1),
        branch1=chain(384, (64, 1), (96, 3)),
        branch2=chain(384, (64, 1), (96, 3), (96, 3)),
        branch3=nn.Sequential(average_pool(), ConvNorm(384, 96, 1)),
    )


def _reduction_a() -> Parallel:
    """To 1024 channels, 17 x 17 (figure 7)."""
    return Parallel(
        branch0=ConvNorm(384, 384, 3, stride=2),
        branch1=nn.Sequential(*chain(384, (192, 1), (224, 3)), ConvNorm(224, 256, 3, stride=2)),
        branch2=max_pool(),
    )


def _block_b() -> Parallel:
    """1024 channels, 17 x 17 (figure 5)."""
    return Parallel(
        branch0=ConvNorm(1024, 384, 1),
        branch1=chain(1024, (192, 1), (224, (1, 7)), (256, (7, 1))),
        branch2=chain(1024, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
        branch3=nn.Sequential(average_pool(), ConvNorm(1024, 128, 1)),
    )


def _reduction_b() -> Parallel:
    """To 1536 channels, 8 x 8 (figure 8)."""
    return Parallel(
        branch0=nn.Sequential(ConvNorm(1024, 192, 1), ConvNorm(192, 192, 3, stride=2)),
        branch1=nn.Sequential(*chain(1024, (256, 1), (256, (1, 7)), (320, (7, 1))), ConvNorm(320, 320, 3, stride=2)),
        branch2=max_pool(),
    )


class _BlockC(nn.Module):
    """1536 channels, 8 x 8 (figure 6): two of the branches fork."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = ConvNorm(1536, 256, 1)
        self.branch1_0 = ConvNorm(1536, 384, 1)
        self.branch1_1a = ConvNorm(384, 256, (1, 3))
        self.branch1_1b = ConvNorm(384, 256, (3, 1))
        self.branch2_0 = ConvNorm(1536, 384, 1)
        self.branch2_1 = ConvNorm(384, 448, (3, 1))
        self.branch2_2 = ConvNorm(448, 512, (1, 3))
        self.branch2_3a = ConvNorm(512, 256, (1, 3))
        self.branch2_3b = ConvNorm(512, 256, (3, 1))
        self.branch3 = nn.Sequential(average_pool(), ConvNorm(1536, 256, 1))

    def forward(self, x: Tensor) -> Tensor:
        short = self.branch1_0(x)
        long = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        forks = [self.branch1_1a(short), self.branch1_1b(short), self.branch2_3a(long), self.branch2_3b(long)]
        return torch.cat([self.branch0(x), *forks, self.branch3(x)], dim=1)
