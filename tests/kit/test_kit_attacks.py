"""The one loop of all attacks against arithmetic that is done here without automatic differentiation.

A linear convolutional network has the same Jacobian everywhere: the network's answers to unit images. From it the
gradient of the cross-entropy is a formula, Jacobian^T (softmax - one_hot).
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advkit.attacks import TOWARDS, ascend, loss_gradient, random_start

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


def closed_form_gradient(network, x, classes):
    units = torch.eye(np.prod(SHAPE), dtype=torch.float64).reshape(-1, *SHAPE)
    jacobian = (network(units) - network(torch.zeros(1, *SHAPE, dtype=torch.float64))).T
    residual = network(x).softmax(dim=1) - F.one_hot(classes, CLASSES)
    return (residual @ jacobian).reshape(x.shape)


def test_the_gradient_is_the_closed_form(network, x):
    expected = closed_form_gradient(network, x, LABELS)
    assert torch.allclose(loss_gradient(network, LABELS)(x), expected)
    assert torch.allclose(loss_gradient(network, LABELS, TOWARDS)(x), -expected)


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


def test_a_random_start_is_in_the_ball_and_is_where_the_loop_begins(x):
    start = random_start(x, 8, [np.random.default_rng(seed) for seed in range(4)])
    assert 7 / 255 < (start - x).abs().max() <= 8 / 255 + 1e-12
    again = ascend(x, torch.zeros_like, epsilon=8, step_size=1, steps=2, start=start)
    assert torch.equal(again, start)
    alone = random_start(x[3:], 8, [np.random.default_rng(3)])
    assert torch.equal(start[3:], alone)
