"""Pixels as tensors and back: float32, N x 3 x height x width, 0..1."""

import numpy as np
import torch
from torch import Tensor

from advkit.images import Pixels


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batch_size() -> int:
    """Images to work on at once: many keep a GPU busy; on a CPU few are as fast and take half the memory."""
    return 64 if torch.cuda.is_available() else 4


def to_tensor(pixels: Pixels) -> Tensor:
    """uint8 pixels N x height x width x 3 as float32 N x 3 x height x width in 0..1, on `device()`."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device()).permute(0, 3, 1, 2).float() / 255


def to_pixels(x: Tensor) -> Pixels:
    """The inverse of `to_tensor`; levels are rounded, never truncated: an unchanged image stays itself."""
    levels = (x.detach() * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
