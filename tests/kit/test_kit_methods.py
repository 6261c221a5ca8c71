"""Each method is the formula of its paper, reduces to the plain gradient, and treats every image by itself.

The formulas are worked out here by other means: direct convolution, PyTorch's own resizing, SciPy's cosine
transform, differences of the loss between neighbouring points. All in float64.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn, idctn
from tiny import tiny_network

from advkit.attacks import ascend, cross_entropy, loss_gradient
from advkit.errors import KitError
from advkit.methods import (
    METHODS,
    Setting,
    admix,
    diversity,
    make_methods,
    momentum,
    scales,
    smoothing,
    spectrum,
    variance,
)

SHAPE = (3, 11, 14)
CLASS_OF_EACH = torch.tensor([0, 3, 8])
X = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
NETWORK = tiny_network().double()
PLAIN = loss_gradient(NETWORK, CLASS_OF_EACH)
# Where each method does nothing; momentum has a test of its own.
OFF = {
    "variance": {"radius": 0},
    "smoothing": {"size": 1},
    "diversity": {"probability": 0},
    "scales": {"copies": 1},
    "admix": {"share": 0},
    "spectrum": {"spread": 0, "deviation": 0},
}


def setting_of(x=X, seeds=(1, 2, 3), others=None):
    generators = [np.random.default_rng(seed) for seed in seeds]
    return Setting(x, epsilon=16, step_size=4, generators=generators, others=others or (lambda: 1 - x))


def recorded(gradient):
    """The gradient, and the list of all points that it is asked at."""
    points = []

    def recorder(x_adv):
        points.append(x_adv.detach())
        return gradient(x_adv)

    return recorder, points


def elementwise(x_adv):
    """A gradient that never mixes pixels."""
    return torch.cos(9 * x_adv)


def rise(function, x):
    """By how much `function` (of images to one number each) rises along one random direction, and the direction."""
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    step = 1e-5
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step), direction


def along(gradient, direction):
    return (gradient * direction).sum(dim=(1, 2, 3))


@pytest.mark.parametrize("name", OFF)
def test_a_method_turned_off_is_the_plain_gradient(name):
    (method,) = make_methods([{"name": name, **OFF[name]}])
    gradient = method(PLAIN, setting_of())
    for x_adv in (X, X + 0.01, X - 0.02):
        assert torch.allclose(gradient(x_adv), PLAIN(x_adv), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_without_a_gradient_nothing_moves_and_nothing_is_nan(name):
    gradient = METHODS[name](torch.zeros_like, setting_of())
    assert torch.equal(ascend(X, gradient, epsilon=8, step_size=2, steps=3), X)


@pytest.mark.parametrize("name", METHODS)
def test_an_image_does_not_depend_on_its_neighbours(name):
    together = ascend(X, METHODS[name](elementwise, setting_of()), epsilon=16, step_size=4, steps=3)
    assert not torch.equal(together, X)
    for index, seed in enumerate((1, 2, 3)):
        x = X[index : index + 1]
        alone = ascend(x, METHODS[name](elementwise, setting_of(x, [seed])), epsilon=16, step_size=4, steps=3)
        assert torch.allclose(together[index : index + 1], alone, atol=1e-12)


def test_the_draws_of_an_image_are_its_own():
    def draws(x, seeds):
        setting = setting_of(x, seeds)
        return torch.cat([setting.uniform(-1, 1), setting.normal(1), setting.uniform(0, 1)], dim=1)

    together = draws(X, (1, 2, 3))
    assert torch.equal(together[1:2], draws(X[1:2], [2]))
    assert torch.equal(together, draws(X, (1, 2, 3)))
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together[1:2], draws(X[1:2], [4]))


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_without_decay_is_the_plain_direction(nesterov):
    gradient = momentum(PLAIN, setting_of(), decay=0, nesterov=nesterov)
    for x_adv in (X, X + 0.01):
        found = PLAIN(x_adv)
        assert torch.allclose(gradient(x_adv), found / found.abs().mean(dim=(1, 2, 3), keepdim=True))


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_adds_up_gradients_of_mean_one(nesterov):
    recorder, points = recorded(PLAIN)
    gradient = momentum(recorder, setting_of(), decay=0.7, nesterov=nesterov)
    asked = [X, X + 0.01, X - 0.03]
    found = [gradient(x_adv) for x_adv in asked]
    total = torch.zeros_like(X)
    for x_adv, point, sum_so_far in zip(asked, points, found, strict=True):
        ahead = 0.7 * 4 / 255 * total if nesterov else 0
        assert torch.allclose(point, x_adv + ahead)
        image_means = torch.stack([image.abs().mean() for image in PLAIN(point)])
        total = 0.7 * total + PLAIN(point) / image_means[:, None, None, None]
        assert torch.allclose(sum_so_far, total)


def test_variance_adds_how_the_gradient_varied_around_the_last_iterate():
    recorder, points = recorded(PLAIN)
    gradient = variance(recorder, setting_of(), samples=6, radius=1.5)
    assert torch.allclose(gradient(X), PLAIN(X))
    following = X + 0.01
    found = gradient(following)
    neighbours = points[1:7]
    offsets, reach = torch.stack(neighbours) - X, 1.5 * 16 / 255
    assert 0.95 * reach < offsets.max() <= reach
    assert -reach <= offsets.min() < -0.95 * reach
    assert abs(offsets.mean()) < 5 * reach / (3 * offsets.numel()) ** 0.5
    correction = torch.stack([PLAIN(point) for point in neighbours]).mean(dim=0) - PLAIN(X)
    assert torch.allclose(found, PLAIN(following) + correction)
    assert len(points) == 8


@pytest.mark.parametrize(("size", "deviations"), [(15, 3.0), (7, 3.0), (5, 1.5)])
def test_smoothing_is_a_convolution_with_a_gaussian(size, deviations):
    axis = np.linspace(-deviations, deviations, size)
    kernel = np.exp(-(axis[:, None] ** 2 + axis**2) / 2)
    kernel /= kernel.sum()
    found = smoothing(elementwise, setting_of(), size=size, deviations=deviations)(X)
    reach = size // 2
    padded = np.pad(elementwise(X).numpy(), ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    assert np.allclose(found, (windows * kernel).sum(axis=(4, 5)))


def test_smoothing_keeps_the_sum_of_what_is_far_from_the_border():
    x = torch.zeros(1, 3, 31, 31, dtype=torch.float64)
    point = torch.zeros_like(x)
    point[0, :, 15, 15] = torch.tensor([1.0, -2.0, 3.0])
    found = smoothing(lambda x_adv: point, setting_of(x, [1]))(x)
    assert torch.allclose(found.sum(dim=(2, 3)), point.sum(dim=(2, 3)))


def diversified(x, seeds, **parameters):
    """The images that diversity takes the gradient at."""
    recorder, points = recorded(torch.zeros_like)
    diversity(recorder, setting_of(x, seeds), **parameters)(x)
    return points[0]


@given(st.integers(0, 10**6), st.sampled_from([1.0, 1.1, 1.5]), st.tuples(st.integers(8, 20), st.integers(8, 20)))
def test_diversity_enlarges_pads_and_shrinks(seed, relative_size, size):
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))
    generator = np.random.default_rng(seed)
    generator.uniform()  # whether at all
    scale, places = generator.uniform(1, relative_size), generator.uniform(size=2)
    enlarged, padded = ([round(side * factor) for side in size] for factor in (scale, relative_size))
    top, left = (int(p * (b - a + 1)) for p, a, b in zip(places, enlarged, padded, strict=True))
    inner = F.interpolate(x, size=enlarged, mode="bilinear")
    assert (top + enlarged[0], left + enlarged[1]) <= tuple(padded)
    framed = F.pad(inner, [left, padded[1] - enlarged[1] - left, top, padded[0] - enlarged[0] - top])
    assert list(framed.shape[2:]) == padded
    expected = F.interpolate(framed, size=size, mode="bilinear")
    found = diversified(x, [seed], relative_size=relative_size, probability=1)
    assert torch.allclose(found, expected, atol=1e-5)


def test_diversity_never_leaves_the_range_of_images():
    white = torch.ones(200, 3, 9, 12)
    found = diversified(white, range(200), relative_size=1.3, probability=1)
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert found.min() < 0.1  # some padding is seen


def test_diversity_leaves_the_share_alone_that_it_should():
    x = torch.rand(400, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    found = diversified(x, range(400), relative_size=1.5, probability=0.25)
    untouched = sum(torch.equal(*pair) for pair in zip(found, x, strict=True))
    assert 265 < untouched < 335  # 300 is expected, the standard deviation is 8.7


def losses(x):
    return cross_entropy(NETWORK(x), CLASS_OF_EACH)


def test_diversity_gives_the_gradient_of_the_loss_after_the_change():
    parameters = {"relative_size": 1.3, "probability": 1}
    found = diversity(PLAIN, setting_of(), **parameters)(X)
    measured, direction = rise(lambda x: losses(diversified(x, (1, 2, 3), **parameters)), X)
    assert torch.allclose(along(found, direction), measured, rtol=1e-5)


def test_scales_give_the_gradient_of_the_mean_loss_of_darker_copies():
    found = scales(PLAIN, setting_of(), copies=4)(X)
    measured, direction = rise(lambda x: sum(losses(x / 2**power) for power in range(4)) / 4, X)
    assert torch.allclose(along(found, direction), measured, rtol=1e-5)


def test_admix_gives_the_gradient_of_the_mean_loss_of_mixtures():
    others = torch.rand(3, *X.shape, generator=torch.Generator().manual_seed(9), dtype=X.dtype)
    draw = iter(others)
    found = admix(PLAIN, setting_of(others=lambda: next(draw)), copies=3, share=0.2)(X)
    measured, direction = rise(lambda x: sum(losses(x + 0.2 * other) for other in others) / 3, X)
    assert torch.allclose(along(found, direction), measured, rtol=1e-5)


def changed_spectra(x, copies):
    """The images that the spectrum method takes gradients at."""
    recorder, points = recorded(torch.zeros_like)
    spectrum(recorder, setting_of(x), copies=copies, spread=0.5, deviation=16)(x)
    return points


def test_spectrum_scales_the_cosine_spectrum_of_a_noisy_image():
    setting = setting_of()
    for found in changed_spectra(X, copies=2):
        noisy, factors = X + setting.normal(16 / 255), setting.uniform(0.5, 1.5)
        assert 0.5 <= factors.min() < 0.51
        assert 1.49 < factors.max() <= 1.5
        scaled = dctn(noisy.numpy(), axes=(2, 3), norm="ortho") * factors.numpy()
        assert np.allclose(found, idctn(scaled, axes=(2, 3), norm="ortho"))


def test_spectrum_gives_the_gradient_of_the_mean_loss_after_the_change():
    found = spectrum(PLAIN, setting_of(), copies=3, spread=0.5, deviation=16)(X)
    measured, direction = rise(lambda x: sum(losses(changed) for changed in changed_spectra(x, 3)) / 3, X)
    assert torch.allclose(along(found, direction), measured, rtol=1e-5)


def test_methods_are_made_with_their_parameters_in_order():
    descriptions = [{"name": "scales", "copies": 2}, {"name": "momentum", "decay": 0.5}]
    inner, outer = make_methods(descriptions)
    found = outer(inner(PLAIN, setting_of()), setting_of())(X)
    expected = momentum(scales(PLAIN, setting_of(), copies=2), setting_of(), decay=0.5)(X)
    assert torch.equal(found, expected)
    assert descriptions == [{"name": "scales", "copies": 2}, {"name": "momentum", "decay": 0.5}]


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"name": "momentun"}, "method 'momentun' is unknown: did you mean momentum?"),
        ({"decay": 1.0}, "method '' is unknown: there is momentum, variance, smoothing, diversity, "),
        ({"name": "momentum", "decays": 1.0}, "method momentum: key 'decays' is unknown: did you mean decay?"),
        ({"name": "scales", "copies": 0}, "method scales: copies: expected a positive integer, found 0"),
        ({"name": "scales", "copies": 2.5}, "method scales: copies: expected a positive integer, found 2.5"),
        ({"name": "momentum", "nesterov": 1}, "method momentum: nesterov: expected true or false, found 1"),
        ({"name": "diversity", "relative_size": 0.9}, "method diversity: relative_size: expected a number of at "),
        ({"name": "diversity", "probability": 2}, "method diversity: probability: expected a number from 0 to 1, "),
        ({"name": "diversity", "gradient": 1}, "method diversity: key 'gradient' is unknown: "),
    ],
    ids=lambda value: value.get("name", "nameless") if isinstance(value, dict) else "",
)
def test_a_wrong_description_is_one_clear_line(description, message):
    with pytest.raises(KitError) as caught:
        make_methods([{"name": "scales"}, description])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_kernel_of_even_size_is_refused():
    with pytest.raises(KitError, match="method smoothing: size 4 is even"):
        smoothing(PLAIN, setting_of(), size=4)
