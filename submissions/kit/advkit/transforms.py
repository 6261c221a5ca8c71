"""Input transformations of defenses, on uint8 pixels N x height x width x 3, 0..255.

Each treats every image by itself. A random one takes `generators`, one an image, and may change the size of the
images; the others keep shape and type. Smoothing reflects the image at its borders (d c b a | a b c d | d c b a),
as SciPy does by default.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from advkit.config import Range, choose, parameters_of
from advkit.errors import KitError
from advkit.images import Pixels, round_pixels

Generators = Sequence[np.random.Generator]
Transform = Callable[[Pixels, Generators], Pixels]
Plane = NDArray[np.float32]

STEP = np.float32(0.25)
"""Of Chambolle's algorithm, which he proves to converge for steps up to 1/8, and sees converge up to 1/4."""

PADDING = 127
"""The level nearest below the middle, which the networks' inputs map to zero or close to it."""


def jpeg(pixels: Pixels, quality: Annotated[int, Range(1, 95)]) -> Pixels:
    """Encode each image as JPEG and decode it again.

    Source: Dziugaite, Ghahramani, Roy, A study of the effect of JPG compression on adversarial images,
    arXiv:1608.00853.
    """
    return np.stack([_jpeg_image(image, quality) for image in pixels])


def bit_depth(pixels: Pixels, bits: Annotated[int, Range(1, 8)]) -> Pixels:
    """Round each level to the nearest of 2^bits that are spread evenly over 0..255.

    Source: Xu, Evans, Qi, Feature squeezing, arXiv:1704.01155, on color depth.
    """
    steps = 2**bits - 1
    table = round_pixels(np.rint(np.arange(256) * steps / 255) * 255 / steps)
    return table[pixels]


def median(pixels: Pixels, size: Annotated[int, Range(1, 9)]) -> Pixels:
    """The median of a window of size x size in each colour.

    Where size is even, the window reaches one pixel further up and left than down and right, and of the two
    levels in the middle the higher one counts: as in SciPy, which the authors use. Source: Xu, Evans, Qi,
    Feature squeezing, arXiv:1704.01155, on local smoothing.
    """
    height, width = pixels.shape[1:3]
    around = (size // 2, (size - 1) // 2)
    padded = np.pad(pixels, ((0, 0), around, around, (0, 0)), mode="symmetric")
    corners = [(top, left) for top in range(size) for left in range(size)]
    return _ranked([padded[:, top : top + height, left : left + width] for top, left in corners], size**2 // 2)


def gaussian(pixels: Pixels, sigma: float) -> Pixels:
    """Convolve with a Gaussian of standard deviation sigma (pixels), cut off at four of them, and round."""
    reach = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    weights = np.exp(-0.5 * (reach / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    return round_pixels(_correlate(_correlate(pixels.astype(np.float32), weights, 1), weights, 2))


def total_variation(pixels: Pixels, weight: float, iterations: int = 40) -> Pixels:
    """The image u that minimises weight * TV(u) + |u - image|^2 / 2 in each colour, levels being 0..1, rounded.

    TV is the sum of the lengths of the gradients. Sources: Rudin, Osher, Fatemi, Nonlinear total variation based
    noise removal algorithms, Physica D 60, 1992; as a defense Guo et al., arXiv:1711.00117, who also drop pixels
    at random, which is not done here.
    """
    planes = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    smooth = [_least_variation(plane, weight, iterations) for image in planes for plane in image]
    return round_pixels(np.reshape(smooth, planes.shape).transpose(0, 2, 3, 1) * 255)


def random_flip(pixels: Pixels, generators: Generators, probability: Annotated[float, Range(0, 1)] = 0.5) -> Pixels:
    """Mirror each image, left to right, with that probability."""
    flips = [generator.random() < probability for generator in generators]
    return np.stack([image[:, ::-1] if flip else image for image, flip in zip(pixels, flips, strict=True)])


def random_resize_pad(pixels: Pixels, generators: Generators, smallest: int, padded: int) -> Pixels:
    """Resize each image to a side drawn from smallest..padded-1, and place it at random on grey of side `padded`.

    The resizing takes the nearest pixel, as the authors' program does, which pads with the middle of the range.
    Source: Xie et al., arXiv:1711.01991; there 310 and 331 for images of side 299. Raises KitError unless
    smallest < padded.
    """
    if smallest >= padded:
        raise KitError(f"transform random_resize_pad: smallest {smallest} must be less than padded {padded}")
    placed = [_resize_pad(*one, smallest, padded) for one in zip(pixels, generators, strict=True)]
    return np.stack(placed)


TRANSFORMS: Mapping[str, Callable[..., Pixels]] = {
    transform.__name__: transform
    for transform in (jpeg, bit_depth, median, gaussian, total_variation, random_flip, random_resize_pad)
}


def make_transforms(descriptions: Sequence[Mapping[str, Any]]) -> list[Transform]:
    """Transforms from a configuration: mappings that hold the `name` of a transform and its parameters.

    Each is called with pixels and generators, one an image. Raises KitError for an unknown name, and for
    parameters that are not those of the transform.
    """
    return [_make(description) for description in descriptions]


def _make(description: Mapping[str, Any]) -> Transform:
    transform, arguments = choose(TRANSFORMS, description, "transform", ("pixels", "generators"))
    is_random = "generators" in parameters_of(transform)
    return partial(transform, **arguments) if is_random else lambda pixels, _: transform(pixels, **arguments)


def _jpeg_image(image: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _ranked(values: list[Pixels], rank: int) -> Pixels:
    """For each pixel the level of that rank among the arrays, 0 being the lowest.

    The lower ones bubble out, for all pixels at once: much faster than sorting short lists.
    """
    for _ in range(rank):
        lowest, above = values[0], []
        for value in values[1:]:
            above.append(np.maximum(lowest, value))
            lowest = np.minimum(lowest, value)
        values = above
    return reduce(np.minimum, values)


def _correlate(values: Plane, weights: Plane, axis: int) -> Plane:
    """Weighted sum of the neighbours along one axis of N x height x width x 3."""
    reach, length = len(weights) // 2, values.shape[axis]
    margins = [(reach, reach) if index == axis else (0, 0) for index in range(values.ndim)]
    padded = np.moveaxis(np.pad(values, margins, mode="symmetric"), axis, 0)
    total = sum(weight * padded[start : start + length] for start, weight in enumerate(weights))
    return np.moveaxis(total, 0, axis)


def _least_variation(plane: Plane, weight: float, iterations: int) -> Plane:
    """Chambolle's algorithm (An algorithm for total variation minimization and applications, JMIV 20, 2004).

    The solution is the plane plus the divergence of a dual field, whose vectors are no longer than `weight`.
    """
    field = np.zeros((2, *plane.shape), np.float32)
    for _ in range(iterations):
        slope = _gradient(STEP * (plane + _divergence(field)))
        field += slope
        field *= np.float32(weight) / (np.float32(weight) + np.sqrt(slope[0] ** 2 + slope[1] ** 2))
    return plane + _divergence(field)


def _gradient(plane: Plane) -> Plane:
    """Differences to the next row and to the next column, 2 x height x width, zero behind the last."""
    slope = np.zeros((2, *plane.shape), np.float32)
    np.subtract(plane[1:], plane[:-1], out=slope[0, :-1])
    np.subtract(plane[:, 1:], plane[:, :-1], out=slope[1, :, :-1])
    return slope


def _divergence(field: Plane) -> Plane:
    """Minus the transpose of `_gradient`, for fields that are zero behind the last row and column."""
    total: Plane = field[0] + field[1]
    total[1:] -= field[0, :-1]
    total[:, 1:] -= field[1, :, :-1]
    return total


def _resize_pad(image: Pixels, generator: np.random.Generator, smallest: int, padded: int) -> Pixels:
    side = int(generator.integers(smallest, padded))
    top, left = generator.integers(0, padded - side, size=2, endpoint=True)
    rows, columns = (np.arange(side) * length // side for length in image.shape[:2])
    canvas = np.full((padded, padded, 3), PADDING, dtype=np.uint8)
    canvas[top : top + side, left : left + side] = image[rows[:, None], columns]
    return canvas
