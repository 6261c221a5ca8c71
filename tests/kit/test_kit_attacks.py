"""The one loop of all attacks against arithmetic that is done here without automatic differentiation.

A linear convolutional network has the same Jacobian everywhere: the network's answers to unit images. From it the
gradient of each loss is a formula: of the cross-entropy Jacobian^T (softmax - one_hot).
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from advkit.attacks import TOWARDS, ascend, logit, loss_gradient, margin, sign_start, uniform_start
from advkit.images import clip_to_ball
from advkit.tensors import to_pixels, to_tensor

SHAPE = (3, 6, 6)
CLASSES = 5


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, CLASSES, bias=False))
    return layers.double().requires_grad_(False)


@pytest.fixture(scope="module")
def x():
    return torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


LABELS = torch.tensor([0, 1, 2, 3])


def jacobian_of(network):
    """CLASSES x values of an image."""
    units = torch.eye(np.prod(SHAPE), dtype=torch.float64).reshape(-1, *SHAPE)
    return (network(units) - network(torch.zeros(1, *SHAPE, dtype=torch.float64))).T


def closed_form_gradient(network, x, classes):
    residual = network(x).softmax(dim=1) - F.one_hot(classes, CLASSES)
    return (residual @ jacobian_of(network)).reshape(x.shape)


def test_the_gradient_is_the_closed_form(network, x):
    expected = closed_form_gradient(network, x, LABELS)
    assert torch.allclose(loss_gradient(network, LABELS)(x), expected)
    assert torch.allclose(loss_gradient(network, LABELS, TOWARDS)(x), -expected)


def test_away_from_a_logit_is_down_its_row_of_the_jacobian(network, x):
    expected = -jacobian_of(network)[LABELS].reshape(x.shape)
    assert torch.allclose(loss_gradient(network, LABELS, loss=logit)(x), expected)


def test_the_margin_climbs_the_best_other_class(network, x):
    logits = network(x)
    rivals = [max(set(range(CLASSES)) - {label}, key=row.__getitem__) for label, row in enumerate(logits.tolist())]
    jacobian = jacobian_of(network)
    expected = (jacobian[rivals] - jacobian[LABELS]).reshape(x.shape)
    assert torch.allclose(loss_gradient(network, LABELS, loss=margin)(x), expected)
    changed = logits.argmax(dim=1) != LABELS
    assert changed.any()
    assert not changed.all()
    assert torch.equal(margin(logits, LABELS) > 0, changed)


@pytest.mark.parametrize("epsilon", [1, 16, 255])
def test_fgsm_is_one_step_of_the_loop(network, x, epsilon):
    x_adv = ascend(x, loss_gradient(network, LABELS), epsilon=epsilon, step_size=epsilon, steps=1)
    expected = x + epsilon / 255 * closed_form_gradient(network, x, LABELS).sign()
    assert torch.allclose(x_adv, expected.clamp(0, 1))


def test_an_image_does_not_depend_on_its_neighbours(network, x):
    together = loss_gradient(network, LABELS)(x)
    alone = loss_gradient(network, LABELS[2:3])(x[2:3])
    assert torch.allclose(together[2:3], alone)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_every_iterate_is_in_the_ball_and_in_the_range(x, steps):
    seen = []

    def gradient(x_adv):
        seen.append(x_adv)
        return torch.ones_like(x_adv)

    x_adv = ascend(x, gradient, epsilon=8, step_size=3, steps=steps)
    assert len(seen) == steps
    for iterate in [*seen, x_adv]:
        assert (iterate - x).abs().max() <= 8 / 255 + 1e-12
        assert iterate.min() >= 0
        assert iterate.max() <= 1
    assert torch.allclose(x_adv, (x + min(8, 3 * steps) / 255).clamp(0, 1))


def test_the_sign_decides_whether_the_loss_rises_or_falls(network, x):
    def loss(images):
        return F.cross_entropy(network(images), LABELS)

    settings = {"epsilon": 16, "step_size": 2, "steps": 10}
    away = ascend(x, loss_gradient(network, LABELS), **settings)
    towards = ascend(x, loss_gradient(network, LABELS, TOWARDS), **settings)
    assert loss(away) > loss(x) > loss(towards)


@pytest.mark.parametrize("start", [uniform_start, sign_start])
def test_a_random_start_is_in_the_ball_and_is_where_the_loop_begins(x, start):
    begin = start(x, 8, [np.random.default_rng(seed) for seed in range(4)])
    assert 7 / 255 < (begin - x).abs().max() <= 8 / 255 + 1e-12
    again = ascend(x, torch.zeros_like, epsilon=8, step_size=1, steps=2, start=begin)
    assert torch.equal(again, begin)
    alone = start(x[3:], 8, [np.random.default_rng(3)])
    assert torch.equal(begin[3:], alone)


def test_a_start_of_signs_is_a_corner_and_a_uniform_one_is_anywhere(x):
    middle = torch.full_like(x, 0.5)
    generators = [np.random.default_rng(seed) for seed in range(4)]
    corner, anywhere = ((start(middle, 8, generators) - middle) * 255 for start in (sign_start, uniform_start))
    assert torch.allclose(corner.abs(), torch.full_like(x, 8))
    assert corner.mean().abs() < 2  # 432 signs: three deviations are 1.2
    assert anywhere.max() > 7
    assert anywhere.min() < -7
    assert 3.5 < anywhere.abs().mean() < 4.5


@given(st.integers(1, 255), st.integers(1, 4), st.floats(0.01, 1), st.sampled_from([None, uniform_start, sign_start]))
def test_rounded_pixels_are_in_the_ball_for_every_epsilon(epsilon, steps, relative_step_size, start):
    pixels = np.random.default_rng(epsilon).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    x = to_tensor(pixels)
    generators = [np.random.default_rng(seed) for seed in range(2)]
    x_adv = ascend(
        x,
        lambda x_adv: torch.cos(40 * x_adv),
        epsilon=epsilon,
        step_size=relative_step_size * epsilon,
        steps=steps,
        start=start and start(x, epsilon, generators),
    )
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    found = to_pixels(x_adv)
    assert np.array_equal(clip_to_ball(found, pixels, epsilon), found)


def test_where_the_gradient_is_zero_nothing_moves(x):
    assert torch.equal(ascend(x, torch.zeros_like, epsilon=8, step_size=8, steps=3), x)
