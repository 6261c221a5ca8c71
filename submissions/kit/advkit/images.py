"""PNG files as arrays: uint8, N x height x width x 3, RGB, 0..255."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from advkit.errors import KitError

Pixels = NDArray[np.uint8]


def list_images(folder: Path) -> list[Path]:
    """Every PNG of a folder, sorted by name. Raises KitError where there is none."""
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise KitError(f"{folder}: no PNG image in this folder")
    return paths


def read_images(paths: Sequence[Path]) -> Pixels:
    """Pixels, N x height x width x 3, of images of one size.

    Raises KitError for a file that is no image and for an image of another size than the first.
    """
    images = [_read_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        _check_size(path, image, paths[0], images[0])
    return np.stack(images)


def read_batches(paths: Sequence[Path], size: int) -> Iterator[tuple[Sequence[Path], Pixels]]:
    """The images in order, `size` at a time; the next batch is decoded while the caller works on this one.

    Raises KitError as `read_images` does.
    """
    first = None
    chunks = [paths[start : start + size] for start in range(0, len(paths), size)]
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(read_images, chunks[0])
        for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
            pixels = coming.result()
            if following is not None:
                coming = reader.submit(read_images, following)
            first = pixels[0] if first is None else first
            _check_size(chunk[0], pixels[0], paths[0], first)
            yield chunk, pixels


def write_image(path: Path, pixels: Pixels) -> None:
    """Write height x width x 3 pixels as PNG, uncompressed: noise hardly shrinks, and this is fast."""
    Image.fromarray(pixels).save(path, format="PNG", compress_level=0)


def round_pixels(values: NDArray[np.floating] | NDArray[np.integer]) -> Pixels:
    """Values on the 0..255 scale as bytes: rounded, never truncated, and saturated at both ends."""
    rounded: NDArray[np.floating] = np.rint(values)
    return rounded.clip(0, 255).astype(np.uint8)


def clip_to_ball(pixels: Pixels, clean: Pixels, epsilon: int) -> Pixels:
    """The nearest pixels whose difference from the clean ones is at most epsilon (integer, 0..255 scale)."""
    radius = np.uint8(epsilon)
    lowest = np.maximum(clean, radius) - radius
    highest = np.minimum(clean, 255 - radius) + radius
    return pixels.clip(lowest, highest)


def _check_size(path: Path, image: Pixels, first_path: Path, first: Pixels) -> None:
    if image.shape != first.shape:
        size, expected = (f"{width}x{height}" for height, width, _ in (image.shape, first.shape))
        raise KitError(f"{path}: {size} pixels, but {first_path.name} has {expected}: all must be of one size")


def _read_image(path: Path) -> Pixels:
    try:
        with Image.open(path) as image:
            pixels: Pixels = np.asarray(image.convert("RGB"))
            return pixels
    except (OSError, SyntaxError, ValueError) as error:
        raise KitError(f"{path}: not a readable image: {error}") from error
