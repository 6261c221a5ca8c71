"""The program behind config.yaml: which classes it leaves or seeks, where it begins, what it writes.

A linear network stands in NETWORKS for the tests: the sign of its gradient is known without differentiation.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import tiny_network, tiny_pixels
from torch import nn

from advkit.errors import KitError
from advkit.images import clip_to_ball, list_images, read_images, write_image
from advkit.labels import LabelSpace
from advkit.methods import METHODS
from advkit.networks import NETWORKS
from advkit.perturb import perturb
from advkit.run import AttackJob
from advkit.tensors import to_tensor

SIZE = (9, 8)
CLASSES = 6
PLAIN = {"steps": 1, "relative_step_size": 1.0}


class Linear(nn.Module):
    """Logits N x 6 of images of SIZE: sums of pixels with fixed random weights."""

    labels = LabelSpace("linear", 1, CLASSES)

    def __init__(self):
        super().__init__()
        weights = np.random.default_rng(3).normal(size=(CLASSES, 3, *SIZE))
        weights -= weights.mean(axis=(1, 2, 3), keepdims=True)  # so that no class wins by brightness
        self.weights = nn.Parameter(torch.from_numpy(weights.astype(np.float32)))

    def forward(self, x):
        return torch.einsum("nchw,kchw->nk", x, self.weights)


WEIGHTS = Linear().weights.detach().numpy()


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    monkeypatch.setitem(NETWORKS, "linear", Linear)
    monkeypatch.setitem(NETWORKS, "tiny", tiny_network)


@pytest.fixture
def attack(tmp_path):
    """Run a configuration on images, with targets 1, 2, 3, ...; gives pixels, N x height x width x 3."""

    def attack(pixels, config, epsilon=16, seed=0, names=None):
        run = Path(tmp_path, f"run-{len(list(tmp_path.iterdir()))}")
        code, input_dir, output_dir = run / "code", run / "input", run / "output"
        for folder in (code, input_dir, output_dir):
            folder.mkdir(parents=True)
        (code / "config.yaml").write_text(yaml.safe_dump({"surrogates": ["linear"], **config}))
        names = names or [f"{number}.png" for number in range(len(pixels))]
        for name, image in zip(names, pixels, strict=True):
            write_image(input_dir / name, image)
        lines = [f"{name},{1 + number % CLASSES}\n" for number, name in enumerate(names)]
        (input_dir / "target_class.csv").write_text("".join(lines))
        perturb(AttackJob(code, input_dir, output_dir, epsilon, seed))
        assert [path.name for path in list_images(output_dir)] == sorted(names)
        return read_images(list_images(output_dir))

    return attack


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(40, 216, (5, *SIZE, 3), dtype=np.uint8)


def logits_of(pixels):
    return np.einsum("nhwc,kchw->nk", pixels / 255, WEIGHTS)


def softmax_of(pixels):
    powers = np.exp(logits_of(pixels) - logits_of(pixels).max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def moved(pixels, coefficients, epsilon=16):
    """The images after a full step along the sign of a combination of the classes' weights, one row an image."""
    signs = np.sign(np.einsum("nk,kchw->nhwc", coefficients, WEIGHTS))
    return (pixels + epsilon * signs).clip(0, 255).astype(np.uint8)


def one_hot(classes):
    return np.eye(CLASSES)[classes]


def test_it_leaves_the_predicted_class(attack, pixels):
    expected = moved(pixels, softmax_of(pixels) - one_hot(logits_of(pixels).argmax(axis=1)))
    assert np.array_equal(attack(pixels, PLAIN), expected)


def test_it_seeks_the_least_likely_class(attack, pixels):
    expected = moved(pixels, one_hot(logits_of(pixels).argmin(axis=1)) - softmax_of(pixels))
    found = attack(pixels, {**PLAIN, "objective": "towards_least_likely"})
    assert np.array_equal(found, expected)
    assert np.array_equal(logits_of(found).argmax(axis=1), logits_of(pixels).argmin(axis=1))


def test_it_seeks_the_target_class(attack, pixels):
    expected = moved(pixels, one_hot(range(5)) - softmax_of(pixels))
    found = attack(pixels, {**PLAIN, "objective": "towards_target"})
    assert np.array_equal(found, expected)
    assert logits_of(found).argmax(axis=1).tolist() == list(range(5))


def test_targets_belong_to_names_and_not_to_places(attack, pixels):
    config = {**PLAIN, "objective": "towards_target"}
    names = ["a.png", "b.png", "c.png", "d.png", "e.png"]
    reverse = attack(pixels[::-1], config, names=names[::-1])
    expected = moved(pixels, one_hot(range(5)[::-1]) - softmax_of(pixels))
    assert np.array_equal(reverse, expected)


def test_the_losses_are_those_of_the_configuration(attack, pixels):
    first = one_hot(logits_of(pixels).argmax(axis=1))
    second = one_hot(logits_of(pixels).argsort(axis=1)[:, -2])
    assert np.array_equal(attack(pixels, {**PLAIN, "loss": "logit"}), moved(pixels, -first))
    assert np.array_equal(attack(pixels, {**PLAIN, "loss": "margin"}), moved(pixels, second - first))
    to_target = attack(pixels, {**PLAIN, "loss": "logit", "objective": "towards_target"})
    assert np.array_equal(to_target, moved(pixels, one_hot(range(5))))


def test_half_precision_is_used_and_moves_nearly_all_pixels_the_same_way(attack):
    pixels, config = tiny_pixels(4), {**PLAIN, "surrogates": ["tiny"]}
    agreement = (attack(pixels, {**config, "precision": "bfloat16"}) == attack(pixels, config)).mean()
    assert 0.95 < agreement < 1


def test_random_fgsm_takes_half_of_epsilon_at_random_and_half_along_the_gradient(attack, pixels):
    config = {"start": "signs", "relative_start_size": 0.5, "relative_step_size": 0.5, "loss": "logit"}
    change = attack(pixels, config).astype(int) - pixels
    along = moved(pixels, -one_hot(logits_of(pixels).argmax(axis=1))).astype(int) - pixels
    assert set(np.unique(change * np.sign(along)).tolist()) == {0, 16}
    random = 2 * (change != 0).mean() - 1
    assert abs(random) < 0.1  # of 1080 signs; three deviations are 0.091


@pytest.mark.parametrize("start", ["uniform", "signs"])
def test_a_random_start_depends_on_seed_and_name_only(attack, pixels, start):
    config = {"start": start, "steps": 1, "relative_step_size": 0.001}
    together, again = attack(pixels, config, seed=1), attack(pixels, config, seed=1)
    alone = attack(pixels[3:4], config, seed=1, names=["3.png"])
    other_seed = attack(pixels[3:4], config, seed=2, names=["3.png"])
    other_name = attack(pixels[3:4], config, seed=1, names=["4.png"])
    assert np.array_equal(together, again)
    assert np.array_equal(together[3:4], alone)
    assert not np.array_equal(alone, other_seed)
    assert not np.array_equal(alone, other_name)


EVERYTHING = {
    "surrogates": ["tiny"],
    "steps": 3,
    "relative_step_size": 0.4,
    "start": "uniform",
    "methods": [
        {"name": "diversity", "probability": 0.9},
        {"name": "spectrum", "copies": 2},
        {"name": "scales", "copies": 2},
        {"name": "variance", "samples": 2},
        {"name": "smoothing", "size": 3},
        {"name": "momentum", "nesterov": True},
    ],
}


def test_an_image_does_not_depend_on_the_call_it_is_in(attack):
    pixels = tiny_pixels(6, (12, 13))
    together = attack(pixels, EVERYTHING, seed=7)
    for number in range(6):
        alone = attack(pixels[number : number + 1], EVERYTHING, seed=7, names=[f"{number}.png"])
        assert (together[number] != alone[0]).mean() < 0.001
    other_seed = attack(pixels, EVERYTHING, seed=8)
    assert (together != other_seed).mean() > 0.5


@pytest.mark.parametrize("number", [1, 3])
def test_what_is_mixed_in_is_another_image_unless_there_is_none(attack, monkeypatch, number):
    seen = []

    def spy(gradient, setting):
        def spying(x_adv):
            seen.append(setting.others())
            return gradient(x_adv)

        return spying

    monkeypatch.setitem(METHODS, "spy", spy)
    pixels = tiny_pixels(number, SIZE)
    attack(pixels, {"steps": 20, "relative_step_size": 0.1, "methods": [{"name": "spy"}]})
    assert len(seen) == 20
    clean = to_tensor(pixels)
    for own in range(number):
        mixed_in = {index for others in seen for index in range(number) if torch.equal(clean[index], others[own])}
        assert mixed_in == (set(range(number)) - {own} or {own})


@given(epsilon=st.integers(1, 255), seed=st.integers(0, 99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_what_is_saved_is_in_the_ball_and_not_the_clean_image(attack, epsilon, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    found = attack(pixels, {**EVERYTHING, "relative_step_size": 1.0}, epsilon=epsilon, seed=seed)
    assert np.array_equal(clip_to_ball(found, pixels, epsilon), found)
    assert not np.array_equal(found, pixels)


def test_fgsm_takes_the_whole_of_every_epsilon(attack, pixels):
    coefficients = softmax_of(pixels) - one_hot(logits_of(pixels).argmax(axis=1))
    for epsilon in range(1, 256):
        assert np.array_equal(attack(pixels, PLAIN, epsilon), moved(pixels, coefficients, epsilon))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"objective": "towards_targets"}, "objective 'towards_targets' is unknown: did you mean towards_target?"),
        ({"loss": "crossentropy"}, "loss 'crossentropy' is unknown: did you mean cross_entropy?"),
        ({"start": "gaussian"}, "start 'gaussian' is unknown: there is clean, uniform, signs"),
        ({"precision": "float16"}, "precision 'float16' is unknown: did you mean bfloat16?"),
        ({"surrogates": ["lineal"]}, "network 'lineal' is unknown: did you mean linear?"),
        ({"methods": [{"name": "blur"}]}, "method 'blur' is unknown: there is "),
        ({"steps": 0}, "steps: expected a positive integer, found 0"),
        ({"surrogates": []}, "surrogates: expected a list of names, found []"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_configuration_is_one_clear_line(attack, pixels, config, message):
    with pytest.raises(KitError) as caught:
        attack(pixels, config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_target_that_is_missing_is_named(tmp_path, pixels):
    (tmp_path / "config.yaml").write_text("surrogates: [linear]\nobjective: towards_target\n")
    write_image(tmp_path / "a.png", pixels[0])
    (tmp_path / "target_class.csv").write_text("b.png,1\n")
    with pytest.raises(KitError, match=r"target_class\.csv: no target for a\.png"):
        perturb(AttackJob(tmp_path, tmp_path, tmp_path, 16, 0))
