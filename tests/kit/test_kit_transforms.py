"""Input transformations compute what their sources say, and treat every image by itself.

A defense is asked for each image once, in any company: were a transformation to look at the neighbours in a batch,
at names or at the order, its answer would depend on what else was played.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from advkit.errors import KitError
from advkit.images import Pixels
from advkit.transforms import PADDING, TRANSFORMS, _least_variation, make_transforms

STEADY = [
    {"name": "jpeg", "quality": 75},
    {"name": "bit_depth", "bits": 3},
    {"name": "median", "size": 2},
    {"name": "median", "size": 3},
    {"name": "gaussian", "sigma": 1.0},
    {"name": "total_variation", "weight": 0.03, "iterations": 5},
]
RANDOM = [
    {"name": "random_flip"},
    {"name": "random_resize_pad", "smallest": 10, "padded": 14},
]
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)).map(lambda sizes: (*sizes, 3))
IMAGES = SIZES.flatmap(lambda shape: arrays(np.uint8, shape))


def transform(description, pixels: Pixels, generators=None) -> Pixels:
    (function,) = make_transforms([description])
    return function(pixels, generators or [np.random.default_rng(0) for _ in pixels])


def name_of(description):
    return "-".join(str(value) for value in description.values())


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


# --- what holds for all


def test_every_transform_is_tried_here():
    assert {description["name"] for description in (*STEADY, *RANDOM)} == set(TRANSFORMS)


@pytest.mark.parametrize("description", STEADY, ids=name_of)
@given(pixels=IMAGES)
def test_shape_and_type_stay(description, pixels):
    before = pixels.copy()
    changed = transform(description, pixels)
    assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("description", [*STEADY, *RANDOM], ids=name_of)
@given(pixels=IMAGES, data=st.data())
def test_an_image_does_not_depend_on_its_neighbours(description, pixels, data):
    order = data.draw(st.permutations(range(len(pixels))))
    generators = [[np.random.default_rng(seed) for seed in range(len(pixels))] for _ in range(2)]
    together = transform(description, pixels[list(order)], [generators[0][index] for index in order])
    for place, index in enumerate(order):
        alone = transform(description, pixels[index : index + 1], [generators[1][index]])
        assert np.array_equal(together[place], alone[0])


@pytest.mark.parametrize("description", STEADY[1:], ids=name_of)
@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_stay(description, level):
    pixels = np.full((1, 9, 7, 3), level, dtype=np.uint8)
    assert np.array_equal(transform(description, pixels), pixels)


# --- each by itself


def test_jpeg_loses_noise_but_not_the_picture():
    smooth = np.tile(np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None], (2, 32, 1, 3))
    noisy = smooth ^ np.random.default_rng(0).integers(0, 16, smooth.shape, dtype=np.uint8)
    compressed = transform({"name": "jpeg", "quality": 50}, noisy)
    errors = [np.abs(image.astype(int) - smooth).mean() for image in (compressed, noisy)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("bits", range(1, 9))
def test_bit_depth_rounds_to_the_nearest_of_its_levels(bits):
    levels = np.arange(256, dtype=np.uint8)
    pixels = np.repeat(levels, 3).reshape(1, 16, 16, 3)
    rounded = transform({"name": "bit_depth", "bits": bits}, pixels)
    kept = np.array([int(step * 255 / (2**bits - 1) + 0.5) for step in range(2**bits)])
    assert np.unique(rounded).tolist() == kept.tolist()
    distance = np.abs(pixels[..., None].astype(int) - kept)
    assert (np.abs(pixels.astype(int) - rounded) <= distance.min(axis=-1) + 1).all()
    assert np.array_equal(transform({"name": "bit_depth", "bits": bits}, rounded), rounded)


def test_eight_bits_are_all_there_are():
    pixels = noise(1, 16, 16)
    assert np.array_equal(transform({"name": "bit_depth", "bits": 8}, pixels), pixels)


@pytest.mark.parametrize("size", range(1, 6))
@given(pixels=IMAGES)
def test_the_median_is_that_of_scipy(size, pixels):
    expected = ndimage.median_filter(pixels, size=(1, size, size, 1), mode="reflect")
    assert np.array_equal(transform({"name": "median", "size": size}, pixels), expected)


@given(pixels=IMAGES, sigma=st.floats(0.1, 4))
def test_the_gaussian_is_that_of_scipy_rounded(pixels, sigma):
    expected = ndimage.gaussian_filter(pixels.astype(np.float64), (0, sigma, sigma, 0), mode="reflect", truncate=4)
    blurred = transform({"name": "gaussian", "sigma": sigma}, pixels)
    assert np.abs(blurred - expected).max() <= 0.5 + 1e-3


# --- total variation


def total_variation(plane):
    down, right = np.zeros_like(plane), np.zeros_like(plane)
    down[:-1], right[:, :-1] = np.diff(plane, axis=0), np.diff(plane, axis=1)
    return np.hypot(down, right).sum()


PLANES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(0, 1, width=32))


@given(plane=PLANES, weight=st.floats(0.01, 0.5))
def test_the_least_variation_is_the_minimum(plane, weight):
    """u minimises weight * TV(u) + |u - f|^2 / 2 just when <f - u, u> = weight * TV(u) and, for every v,
    <f - u, v> <= weight * TV(v): TV is convex and homogeneous."""
    smooth = _least_variation(plane.astype(np.float32), weight, 3000).astype(np.float64)
    residual = plane - smooth
    slack = 1e-3 * weight * max(total_variation(plane), 1)
    assert abs((residual * smooth).sum() - weight * total_variation(smooth)) <= slack
    for other in (plane, -plane, plane**2, *np.eye(plane.size).reshape(-1, *plane.shape)):
        assert (residual * other).sum() <= weight * total_variation(other) + slack


@pytest.mark.parametrize("axis", [1, 2])
def test_an_edge_shrinks_by_what_theory_says(axis):
    """Two flat halves of n rows each move towards each other by weight / n."""
    pixels = np.zeros((1, 20, 20, 3), dtype=np.uint8)
    pixels[:, :10] = 255
    pixels = np.moveaxis(pixels, 1, axis)
    expected = np.where(pixels > 0, 255 - 255 * 0.2 / 10, 255 * 0.2 / 10)
    smooth = transform({"name": "total_variation", "weight": 0.2, "iterations": 2000}, pixels)
    assert np.abs(smooth - expected).max() <= 0.5 + 1e-2


def test_total_variation_falls_with_the_weight():
    pixels = noise(1, 16, 16)
    weights = [1e-6, 0.03, 0.1, 0.3]
    smooth = [transform({"name": "total_variation", "weight": weight}, pixels) for weight in weights]
    variation = [total_variation(image[0, :, :, 0].astype(float)) for image in smooth]
    assert np.array_equal(smooth[0], pixels)
    assert variation == sorted(variation, reverse=True)
    assert variation[-1] < variation[0] / 2


# --- random ones


@pytest.mark.parametrize("description", RANDOM, ids=name_of)
def test_the_generator_decides(description):
    pixels = np.stack([noise(12, 12)] * 40)
    seeds = range(40)
    first, again = (transform(description, pixels, [np.random.default_rng(seed) for seed in seeds]) for _ in range(2))
    assert np.array_equal(first, again)
    assert len(np.unique(first, axis=0)) > 1


def test_every_flip_is_a_mirror_image():
    pixels = noise(200, 4, 5)
    generators = [np.random.default_rng(seed) for seed in range(200)]
    flipped = transform({"name": "random_flip"}, pixels, generators)
    mirrored = [np.array_equal(after, before[:, ::-1]) for before, after in zip(pixels, flipped, strict=True)]
    same = [np.array_equal(after, before) for before, after in zip(pixels, flipped, strict=True)]
    assert sum(mirrored) + sum(same) == 200
    assert 70 < sum(mirrored) < 130


@pytest.mark.parametrize(("probability", "step"), [(0, 1), (1, -1)])
def test_a_flip_can_be_never_or_always(probability, step):
    pixels = noise(3, 4, 5)
    flipped = transform({"name": "random_flip", "probability": probability}, pixels)
    assert np.array_equal(flipped, pixels[:, :, ::step])


def framed(image):
    """(top, left, height, width) of what is not grey, and that part."""
    rows, columns = (np.flatnonzero((image != PADDING).any(axis=axes)) for axes in ((1, 2), (0, 2)))
    box = rows[0], columns[0], rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    return box, image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def test_resizing_takes_the_nearest_pixel_and_pads_with_grey():
    image = noise(299, 299) | 128  # no grey of its own
    pixels = np.stack([image] * 120)
    description = {"name": "random_resize_pad", "smallest": 310, "padded": 331}
    padded = transform(description, pixels, [np.random.default_rng(seed) for seed in range(120)])
    assert (padded.shape, padded.dtype) == ((120, 331, 331, 3), np.uint8)
    boxes = set()
    for one in padded:
        (top, left, height, width), inside = framed(one)
        expected = F.interpolate(torch.from_numpy(image).permute(2, 0, 1)[None], size=height, mode="nearest")
        assert np.array_equal(inside, expected[0].permute(1, 2, 0).numpy())
        boxes.add((top, left, height, width))
    sides = {height for _, _, height, width in boxes if height == width}
    assert (min(sides), max(sides)) == (310, 330)
    assert {top + side == 331 for top, _, side, _ in boxes} == {True, False}
    assert {top == left for top, left, _, _ in boxes} == {True, False}


def test_an_image_must_fit_into_its_frame():
    with pytest.raises(KitError, match="random_resize_pad: smallest 331 must be less than padded 331"):
        transform({"name": "random_resize_pad", "smallest": 331, "padded": 331}, noise(1, 9, 9))
