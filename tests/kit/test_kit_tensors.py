"""Batches fit into the memory there is; half precision is asked for by name and never leaks; what is cached serves
gradients however it was made first."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from advkit.attacks import loss_gradient
from advkit.errors import KitError
from advkit.networks import in_precision, resize
from advkit.networks.layers import _bicubic
from advkit.tensors import MAX_BATCH, SHARE, batch_size, largest_batch


@given(st.integers(0, 1 << 40), st.floats(0, 1e12))
def test_a_batch_is_a_power_of_two_that_fits(free, per_image):
    size = largest_batch(free, per_image)
    assert size.bit_count() == 1
    assert 1 <= size <= MAX_BATCH
    assert size == 1 or size * per_image <= SHARE * free
    assert size == MAX_BATCH or 2 * size * max(per_image, 1) > SHARE * free


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_a_batch_is_small_and_nothing_is_tried():
    assert [batch_size(pytest.fail, side, side) for side in (299, 28, 598)] == [4, MAX_BATCH, 1]


def linear(x):
    return x.flatten(1) @ torch.linspace(-1, 1, x[0].numel() * 5).reshape(-1, 5)


def test_half_precision_is_rougher_and_comes_back_as_float32():
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    full, half = in_precision(linear, "float32")(x), in_precision(linear, "bfloat16")(x)
    assert torch.equal(full, linear(x))
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() < 0.02 * full.abs().max()
    assert loss_gradient(in_precision(linear, "bfloat16"), torch.tensor([0, 1]))(x).dtype == torch.float32


def test_an_unknown_precision_is_one_line():
    with pytest.raises(KitError, match="precision 'bfloat' is unknown: did you mean bfloat16"):
        in_precision(linear, "bfloat")


def test_pixels_are_resized_in_full_precision_always():
    x = torch.rand(1, 3, 20, 30)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resize(x, 16), resize(x.clone(), 16))
        assert resize(x, 16).dtype == torch.float32


def test_gradients_go_through_what_was_first_used_without_them():
    _bicubic.cache_clear()
    with torch.inference_mode():
        resize(torch.rand(1, 3, 21, 31), 16)
    x = torch.rand(1, 3, 21, 31, requires_grad=True)
    resize(x, 16).sum().backward()
    assert x.grad is not None
