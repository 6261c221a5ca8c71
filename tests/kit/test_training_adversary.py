"""What a network learns to withstand: made on the network that was drawn, inside the ball, with the label that the
recipe says, a constant for the gradient; and nothing of any network changes while it is made."""

from copy import deepcopy
from itertools import pairwise
from math import erf
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training_files import fault
from training_tiny import Linear

from advkit.methods import METHODS
from advkit.networks.small import SMALL
from advkit.perturb import make_attack
from training.adversary import DRAWS, Adversary, Crafter, attack_config, crafting, perturbed

EPSILON = 32.0
ATTACKS = {
    "fgsm": {},
    "step_ll": {"objective": "towards_least_likely"},
    "r_fgsm": {"start": "signs", "relative_start_size": 0.5, "relative_step_size": 0.5},
    "pgd": {"start": "uniform", "steps": 3, "relative_step_size": 0.6},
}


def pictures(number=6, side=8, seed=0):
    generator = np.random.default_rng(seed)
    x = torch.tensor(generator.uniform(size=(number, 1, side, side)), dtype=torch.float32)
    return x, torch.tensor(generator.integers(10, size=number))


def grey(number=6, side=8):
    """So far from black and white that nothing is cut."""
    return 0.3 + 0.4 * pictures(number, side)[0]


def crafter(network, static=(), **keys):
    return Crafter(Adversary(**{"epsilon": EPSILON, **keys}), network, static)


def random(seed=0):
    return np.random.default_rng(seed)


def classes_of(network, x):
    return network(x).argmax(dim=1)


# --- the source


class Counting(Linear):
    """Counts how often its gradient was asked for."""

    def __init__(self, name, asked):
        super().__init__(seed=len(name))
        self.register_full_backward_pre_hook(lambda *_: asked.append(name))


def sources_of(number, static, seed):
    """The names of the sources that were drawn for so many batches; that of the network in training is "self"."""
    asked = []
    made = crafter(Counting("self", asked), [Counting(name, asked) for name in static])
    generator, (x, y) = random(seed), pictures(1)
    for _ in range(number):
        made.examples(x, y, generator)
    return asked


@pytest.mark.parametrize("static", [["a"], ["a", "bb", "ccc"]])
def test_a_source_is_drawn_uniformly_from_the_network_in_training_and_the_static_ones(static):
    number, names = 1200, ["self", *static]
    drawn = sources_of(number, static, seed=3)
    share = 1 / len(names)
    four_deviations = 4 * (number * share * (1 - share)) ** 0.5
    assert len(drawn) == number
    for name in names:
        assert abs(drawn.count(name) - number * share) < four_deviations
    # Each time anew: every pair of neighbours is as likely.
    pairs = list(pairwise(drawn))
    for pair in {(one, other) for one in names for other in names}:
        assert abs(pairs.count(pair) - len(pairs) * share**2) < 5 * (len(pairs) * share**2) ** 0.5


def test_the_draw_depends_on_the_generator_alone():
    drawn = sources_of(40, ["a", "bb"], seed=1)
    assert drawn == sources_of(40, ["a", "bb"], seed=1)
    assert drawn != sources_of(40, ["a", "bb"], seed=2)


def test_without_static_sources_it_is_the_network_in_training():
    assert sources_of(20, [], seed=0) == ["self"] * 20


def test_examples_are_those_of_the_source_that_was_drawn():
    networks = [Linear(seed) for seed in range(3)]
    made, x = crafter(networks[0], networks[1:], label="given"), grey()
    y, generator = torch.arange(6), random()
    expected = [x + EPSILON / 255 * network.gradient(x, y).sign() for network in networks]
    found = [made.examples(x, y, generator) for _ in range(30)]
    whose = [[torch.allclose(x_adv, own, atol=1e-6) for own in expected] for x_adv in found]
    assert all(sum(matches) == 1 for matches in whose)
    assert all(any(matches) for matches in zip(*whose, strict=True))


# --- the example


@given(
    attack=st.sampled_from(sorted(ATTACKS)),
    epsilon=st.floats(0.5, 255),
    drawn=st.sampled_from(sorted(DRAWS)),
    label=st.sampled_from(["given", "predicted"]),
    seed=st.integers(0, 50),
)
def test_examples_lie_in_the_ball_and_are_pictures(attack, epsilon, drawn, label, seed):
    keys = {"attack": ATTACKS[attack], "epsilon": epsilon, "drawn_epsilon": drawn, "label": label}
    x, y = pictures(seed=seed)
    x_adv = crafter(Linear(), [Linear(1)], **keys).examples(x, y, random(seed))
    assert x_adv.shape == x.shape
    assert x_adv.dtype == torch.float32
    assert (x_adv - x).abs().max() <= epsilon / 255 + 1e-6
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    assert not torch.equal(x_adv, x)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_ball_is_that_of_the_epsilon_of_each_image(monkeypatch, attack):
    monkeypatch.setitem(DRAWS, "rising", lambda generator, count: np.linspace(0, 1, count))
    x = grey(5)
    x_adv = crafter(Linear(), attack=ATTACKS[attack], drawn_epsilon="rising").examples(x, torch.arange(5), random())
    expected = torch.tensor([0, 0.25, 0.5, 0.75, 1]) * EPSILON / 255
    assert torch.allclose((x_adv - x).abs().amax(dim=(1, 2, 3)), expected, atol=1e-6)


def test_epsilon_is_drawn_for_every_image_of_every_batch():
    x, generator = grey(), random()
    made = crafter(Linear(), drawn_epsilon="uniform")
    sizes = [(made.examples(x, torch.arange(6), generator) - x).abs().amax(dim=(1, 2, 3)) for _ in range(8)]
    assert len({round(size, 4) for batch in sizes for size in batch.tolist()}) == 48


WITH_METHODS = {
    **ATTACKS,
    "ahead": {"steps": 3, "relative_step_size": 0.4, "methods": [{"name": "momentum", "nesterov": True}]},
    "variance": {"steps": 3, "relative_step_size": 0.4, "methods": [{"name": "variance", "samples": 2}]},
}


@pytest.mark.parametrize("given_classes", [False, True])
@pytest.mark.parametrize("name", WITH_METHODS)
def test_an_image_with_an_epsilon_of_its_own_is_as_if_it_were_alone(name, given_classes):
    config, network, x = attack_config(WITH_METHODS[name]), Linear(), grey(4)
    attack, sizes = make_attack(config), [3.0, 8.0, 20.0, 40.0]
    classes = torch.tensor([0, 3, 6, 9]) if given_classes else None

    def made(epsilon, *numbers):
        own = classes[[*numbers]] if given_classes else None
        return perturbed(attack, config, network, x[[*numbers]], own, epsilon, [random(number) for number in numbers])

    together = made(torch.tensor(sizes)[:, None, None, None], *range(4))
    alone = torch.cat([made(size, number) for number, size in enumerate(sizes)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_a_step_of_fgsm_goes_along_the_sign_of_the_gradient():
    network, x = Linear(), pictures()[0]
    along = network.gradient(x, classes_of(network, x)).sign()
    x_adv = crafter(network).examples(x, torch.arange(6), random())
    assert torch.allclose(x_adv, (x + EPSILON / 255 * along).clamp(0, 1), atol=1e-6)


def test_a_step_to_the_least_likely_class_goes_against_its_gradient():
    network, x = Linear(), grey()
    least = network(x).argmin(dim=1)
    made = crafter(network, attack=ATTACKS["step_ll"], epsilon=4.0)
    x_adv = made.examples(x, torch.arange(6), random())
    assert torch.allclose(x_adv, x - 4 / 255 * network.gradient(x, least).sign(), atol=1e-6)
    assert (network(x_adv).log_softmax(1) - network(x).log_softmax(1)).gather(1, least[:, None]).min() > 0


def test_half_precision_is_that_of_the_network():
    seen = []
    network = SMALL["grey_vgg"]()
    network.body[0].conv.register_forward_hook(lambda layer, given, made: seen.append(made.dtype))
    x, y = pictures(2, 28)
    x_adv = Crafter(Adversary(EPSILON), network, [], "bfloat16").examples(x, y, random())
    assert {*seen} == {torch.bfloat16}
    assert x_adv.dtype == torch.float32


def test_a_method_that_asks_for_another_picture_gets_the_neighbour(monkeypatch):
    seen = []

    def spy(gradient, setting):
        seen.append(setting.others())
        return gradient

    monkeypatch.setitem(METHODS, "spy", spy)
    x, y = pictures(3)
    crafter(Linear(), attack={"methods": [{"name": "spy"}]}).examples(x, y, random())
    assert torch.equal(seen[0], x[[2, 0, 1]])


# --- the label


@pytest.mark.parametrize("attack", ATTACKS)
@given(labels=st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_by_prediction_no_given_label_is_looked_at(attack, labels):
    networks, x = [Linear(0), Linear(1)], pictures()[0]
    made = crafter(networks[0], networks[1:], attack=ATTACKS[attack])
    first, other = (made.examples(x, torch.tensor(y), random()) for y in (labels, [0] * 6))
    assert torch.equal(first, other)


@given(labels=st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_given_labels_are_what_the_step_goes_away_from(labels):
    network, x, y = Linear(), grey(), torch.tensor(labels)
    x_adv = crafter(network, label="given").examples(x, y, random())
    assert torch.allclose(x_adv, x + EPSILON / 255 * network.gradient(x, y).sign(), atol=1e-6)


def test_the_prediction_is_that_of_the_source():
    network, source, x = Linear(0), Linear(1), grey()
    assert not torch.equal(classes_of(network, x), classes_of(source, x))
    made = crafter(network, [source])
    made.sources = [source]
    expected = x + EPSILON / 255 * source.gradient(x, classes_of(source, x)).sign()
    assert torch.allclose(made.examples(x, torch.arange(6), random()), expected, atol=1e-6)


# --- a constant for the gradient, and nothing changes


def one_of(architecture, static):
    """The network in training, and what crafts: itself, or a static one beside it."""
    torch.manual_seed(0)
    network = SMALL[architecture]().train()
    source = SMALL[architecture]().eval().requires_grad_(False)
    made = crafter(network, attack=ATTACKS["r_fgsm"])
    made.sources = [source] if static else [network]
    return network, made, made.sources[0]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("architecture", ["model_d", "grey_vgg"])
def test_examples_are_constants(architecture, static):
    network, made, _ = one_of(architecture, static)
    x, y = pictures(4, 28)
    images, classes, _ = made.mixed(x, y, random())
    assert (images.requires_grad, images.grad_fn, images.is_leaf) == (False, None, True)
    found = []
    for given_images in (images, images.clone().detach(), torch.tensor(images.numpy())):
        torch.manual_seed(1)
        F.cross_entropy(network(given_images), classes).backward()
        found.append([parameter.grad for parameter in network.parameters()])
        network.zero_grad(set_to_none=True)
    assert all(torch.equal(one, other) for others in found[1:] for one, other in zip(found[0], others, strict=True))


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("architecture", ["model_d", "grey_vgg"])
def test_crafting_changes_no_network(architecture, static):
    network, made, source = one_of(architecture, static)
    before = [(deepcopy(one.state_dict()), [module.training for module in one.modules()]) for one in (network, source)]
    x, y = pictures(4, 28)
    clean = x.clone()
    made.mixed(x, y, random())
    for one, (state, modes) in zip((network, source), before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())
        assert [module.training for module in one.modules()] == modes
        assert all(parameter.grad is None for parameter in one.parameters())
    assert torch.equal(x, clean)


def test_gradients_that_are_there_stay():
    network, made, _ = one_of("model_d", static=False)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.examples(*pictures(2, 28), random())
    assert all(torch.equal(parameter.grad, torch.ones_like(parameter)) for parameter in network.parameters())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", [nn.Dropout, nn.BatchNorm2d])
def test_while_crafting_dropout_is_active_and_batch_norms_are_not(kind, training):
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 10))
    body.train(training)
    seen = []
    for layer in body:
        if isinstance(layer, kind):
            layer.register_forward_pre_hook(lambda module, given: seen.append(module.training))
    crafter(body, attack=ATTACKS["pgd"]).examples(*pictures(), random())
    assert seen
    assert {*seen} == {kind is nn.Dropout}


@pytest.mark.parametrize("static", [False, True])
def test_dropout_makes_other_examples_each_time(static):
    _, made, _ = one_of("model_d", static)
    x, y = pictures(2, 28)

    def examples(seed):
        torch.manual_seed(seed)
        return made.examples(x, y, random())

    assert torch.equal(examples(0), examples(0))
    assert not torch.equal(examples(0), examples(1))


def test_modes_come_back_after_a_fault():
    network = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(1))
    network[0].eval()
    with pytest.raises(ZeroDivisionError), crafting(network):
        1 / 0  # noqa: B018
    assert [module.training for module in network.modules()] == [True, False, True]


# --- how much of a batch


def test_a_full_adversarial_batch_stands_beside_the_clean_one():
    network, (x, y) = Linear(), pictures(5)
    images, classes, clean = crafter(network, batches="full").mixed(x, y, random())
    assert (len(images), len(classes), clean) == (10, 10, 5)
    assert torch.equal(images[:5], x)
    assert torch.equal(classes, torch.cat([y, y]))
    assert torch.equal(images[5:], crafter(network).examples(x, y, random()))


@pytest.mark.parametrize("number", [2, 5, 6])
def test_half_of_a_batch_is_replaced(number):
    network, (x, y) = Linear(), pictures(number)
    images, classes, clean = crafter(network, batches="half").mixed(x, y, random())
    assert (len(images), clean) == (number, number // 2)
    assert torch.equal(images[:clean], x[:clean])
    assert torch.equal(classes, y)
    assert torch.equal(images[clean:], crafter(network).examples(x[clean:], y[clean:], random()))


@pytest.mark.parametrize("batches", ["half", "full"])
def test_each_example_keeps_the_class_of_its_picture(batches):
    """By the given label it is the picture's own class that the step goes away from."""
    network, x, y = Linear(), grey(), torch.tensor([1, 1, 2, 3, 5, 8])
    images, classes, clean = crafter(network, batches=batches, label="given").mixed(x, y, random())
    own = x[-len(images[clean:]) :]
    expected = own + EPSILON / 255 * network.gradient(own, classes[clean:]).sign()
    assert torch.allclose(images[clean:], expected, atol=1e-6)


# --- the size that is drawn


def drawn(name, number=4000):
    return DRAWS[name](random(11), number)


def test_a_fixed_epsilon_is_the_whole_one():
    assert drawn("fixed", 10).tolist() == [1.0] * 10


DISTRIBUTIONS = {
    "uniform": lambda value: value,
    # |N(0, 1/2)|, given that it is at most 1.
    "truncated_normal": lambda value: erf(value * 2**0.5) / erf(2**0.5),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_drawn_epsilon_is_distributed_as_named(name):
    values = np.sort(drawn(name))
    assert values[0] >= 0
    assert values[-1] <= 1
    assert np.array_equal(values, np.sort(drawn(name)))
    expected = np.array([DISTRIBUTIONS[name](value) for value in values])
    distance = np.abs(expected - np.arange(1, len(values) + 1) / len(values)).max()
    assert distance < 1.63 / len(values) ** 0.5  # Kolmogorov and Smirnov, one in a hundred


def test_what_is_outside_of_a_truncated_normal_is_drawn_again_until_it_is_inside():
    values = iter([-1.5, 0.1, 1.01, 1.2, -0.25, 0.5])
    generator = SimpleNamespace(normal=lambda mean, deviation, count: np.array([next(values) for _ in range(count)]))
    assert DRAWS["truncated_normal"](generator, 3).tolist() == [0.5, 0.1, 0.25]


def test_a_wrong_attack_or_draw_is_one_line():
    assert fault(crafter, Linear(), drawn_epsilon="half").startswith("drawn_epsilon 'half' is unknown: ")
    assert fault(crafter, Linear(), attack={"start": "sings"}) == "start 'sings' is unknown: did you mean signs?"
    line = fault(attack_config, {"objective": "towards_target"})
    assert line == "attack: objective towards_target: there are no targets here; take another objective"
