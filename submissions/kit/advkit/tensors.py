"""Pixels as tensors and back: float32, N x 3 x height x width, 0..1."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from advkit.images import Pixels

CPU_PIXELS = 4 * 299 * 299
"""On a CPU few large images are as fast as many and take less memory; small ones are faster together."""

MAX_BATCH = 128
"""One limit for all large GPUs: the size of a batch can decide the last bits of a result."""

SHARE = 0.7
"""Of the free memory: convolutions want room to work in, and programs beside this one may want some too."""


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batch_size(network: Callable[[Tensor], Tensor], height: int, width: int) -> int:
    """Images of that size to work on at once, for answers of the network or for its gradient.

    On a GPU as many as fit into most of its free memory, found by the gradient of a few; on a CPU CPU_PIXELS.
    """
    if not torch.cuda.is_available():
        return power_of_two(CPU_PIXELS / (height * width))
    few, more = (_peak_memory(network, (count, 3, height, width)) for count in (1, 5))
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    return largest_batch(free, (more - few) / 4)


def largest_batch(free: int, per_image: float) -> int:
    """The power of two, 1..MAX_BATCH, whose images of `per_image` bytes take no more than SHARE of `free` bytes."""
    return power_of_two(SHARE * free / max(per_image, 1))


def power_of_two(images: float) -> int:
    """The largest power of two, 1..MAX_BATCH, that is not above `images`."""
    return 1 << max(int(min(images, MAX_BATCH)).bit_length() - 1, 0)


def _peak_memory(network: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> int:
    """Bytes of the GPU that the gradient of images of that shape takes at most, with all that was there before."""
    torch.cuda.reset_peak_memory_stats()
    x = torch.zeros(shape, device=device(), requires_grad=True)
    network(x).sum().backward()
    return torch.cuda.max_memory_allocated()


def to_tensor(pixels: Pixels) -> Tensor:
    """uint8 pixels N x height x width x 3 as float32 N x 3 x height x width in 0..1, on `device()`."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device()).permute(0, 3, 1, 2).float() / 255


def to_pixels(x: Tensor) -> Pixels:
    """The inverse of `to_tensor`; levels are rounded, never truncated: an unchanged image stays itself."""
    levels = (x.detach() * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
