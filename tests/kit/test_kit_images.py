"""Pixels go through the kit unchanged unless an attack changes them, and never leave the ball around the clean ones.

Truncating instead of rounding would move every level by up to one: a no-op would then be an attack.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advkit.errors import KitError
from advkit.images import clip_to_ball, list_images, read_batches, read_images, round_pixels, write_image
from advkit.tensors import to_pixels, to_tensor

LEVELS = np.arange(256, dtype=np.uint8)
ANY_LEVELS = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=20)


def test_every_level_survives_the_way_to_a_tensor_and_back():
    pixels = np.tile(LEVELS.reshape(1, 16, 16, 1), (2, 1, 1, 3))
    x = to_tensor(pixels)
    assert x.shape == (2, 3, 16, 16)
    assert (x.min().item(), x.max().item()) == (0, 1)
    assert np.array_equal(to_pixels(x), pixels)


@given(st.integers(0, 255), st.floats(-0.499, 0.499))
def test_floats_are_rounded_to_the_nearest_level(level, error):
    assert round_pixels(np.array([level + error])) == [level]


def test_levels_saturate():
    assert round_pixels(np.array([-300, -0.6, 255.6, 300])).tolist() == [0, 0, 255, 255]


@given(st.integers(0, 255), ANY_LEVELS)
def test_the_ball_is_the_one_of_plain_integers(epsilon, levels):
    adversarial, clean = np.array(levels).T
    expected = np.clip(np.clip(adversarial, clean - epsilon, clean + epsilon), 0, 255)
    clipped = clip_to_ball(adversarial.astype(np.uint8), clean.astype(np.uint8), epsilon)
    assert clipped.dtype == np.uint8
    assert clipped.tolist() == expected.tolist()


def test_png_files_give_back_what_was_written(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 7, 5, 3), dtype=np.uint8)
    for index, image in enumerate(images):
        write_image(tmp_path / f"{index}.png", image)
    assert np.array_equal(read_images(list_images(tmp_path)), images)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_batches_hold_every_image_once_in_order(tmp_path, size):
    for level in range(5):
        write_image(tmp_path / f"{level}.png", np.full((2, 2, 3), level, dtype=np.uint8))
    batches = list(read_batches(list_images(tmp_path), size))
    assert [int(image[0, 0, 0]) for _, pixels in batches for image in pixels] == list(range(5))
    assert [path.stem for paths, _ in batches for path in paths] == list("01234")
    assert max(len(pixels) for _, pixels in batches) == min(size, 5)


@pytest.mark.parametrize("read", [read_images, lambda paths: list(read_batches(paths, 1))], ids=["all", "batches"])
def test_images_of_two_sizes_are_refused(tmp_path, read):
    write_image(tmp_path / "a.png", np.zeros((4, 6, 3), dtype=np.uint8))
    write_image(tmp_path / "b.png", np.zeros((4, 5, 3), dtype=np.uint8))
    with pytest.raises(KitError, match=r"b\.png: 5x4 pixels, but a\.png has 6x4"):
        read(list_images(tmp_path))


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    with pytest.raises(KitError, match=r"a\.png: not a readable image"):
        read_images(list_images(tmp_path))


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(KitError, match="no PNG image"):
        list_images(tmp_path)
