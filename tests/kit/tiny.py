"""A network of a few thousand weights for tests of attacks: smooth, so that rounding does not decide its gradients."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.labels import LabelSpace

CLASSES = 10


class TinyNetwork(nn.Module):
    """Two convolutions and a linear layer; the weights come from one seed, images may have any size from 8 x 8."""

    labels = LabelSpace("tiny", 1, CLASSES)

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 5, stride=2), nn.Conv2d(8, 16, 3, padding=1)
        self.last = nn.Linear(16 * 4 * 4, CLASSES)
        generator = np.random.default_rng(seed)
        for parameter in self.parameters():
            deviation = (2 / max(1, parameter[0].numel())) ** 0.5 if parameter.ndim > 1 else 0.5
            parameter.data = torch.from_numpy(generator.normal(0, deviation, parameter.shape).astype(np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Logits N x 10 of x, N x 3 x height x width, 0..1."""
        hidden = F.softplus(self.second(F.softplus(self.first(8 * x - 4))))
        return self.last(F.adaptive_avg_pool2d(hidden, 4).flatten(1))


def tiny_network(seed: int = 0) -> nn.Module:
    """A TinyNetwork as `advkit.networks.load_network` gives networks: in evaluation mode, its weights constant."""
    return TinyNetwork(seed).eval().requires_grad_(False)


def tiny_pixels(number: int, size: tuple[int, int] = (32, 32), seed: int = 1) -> np.ndarray:
    """Smooth random images, uint8, number x height x width x 3."""
    generator = np.random.default_rng(seed)
    coarse = torch.from_numpy(generator.uniform(-64, 319, (number, 3, 5, 5)))
    smooth = F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)
    return smooth.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
