"""A network is trained as its recipe says: the weights are those of a plain loop that is written out here, no stop on
the way changes a bit of them, and what is damaged or was made otherwise is not gone on from."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_files import fault
from training_tiny import quick_model, random_data, same_state, static_source, trained, without_seconds

import training.train
from advkit.networks.small import SMALL
from training.adversary import Adversary
from training.recipe import Restart
from training.train import CUT, GREY, SCHEDULES, augmented, batches, cut, error

DATA = random_data()
EPSILON = 76.5


# --- against a loop that is written out


@pytest.fixture
def exact():
    """float64, so that the order of a sum does not show."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Sgd:
    """Nesterov's momentum of 0.9."""

    def __init__(self, weights, decay):
        self.weights, self.decay = weights, decay
        self.velocity = [torch.zeros_like(weight) for weight in weights]

    def step(self, rate):
        for weight, velocity in zip(self.weights, self.velocity, strict=True):
            slope = weight.grad + self.decay * weight.data
            velocity.mul_(0.9).add_(slope)
            weight.data -= rate * (slope + 0.9 * velocity)


class Adam:
    """Kingma and Ba, arXiv:1412.6980, algorithm 1."""

    def __init__(self, weights, decay):
        self.weights, self.decay, self.steps = weights, decay, 0
        self.means, self.squares = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))

    def step(self, rate):
        self.steps += 1
        for weight, mean, square in zip(self.weights, self.means, self.squares, strict=True):
            slope = weight.grad + self.decay * weight.data
            mean.mul_(0.9).add_(0.1 * slope)
            square.mul_(0.999).add_(0.001 * slope**2)
            first, second = mean / (1 - 0.9**self.steps), square / (1 - 0.999**self.steps)
            weight.data -= rate * first / (second.sqrt() + 1e-8)


def cross_entropy(logits, classes, smoothing=0.0):
    target = torch.full_like(logits, smoothing / 10)
    target[torch.arange(len(classes)), classes] += 1 - smoothing
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


def fgsm(network, x):
    """Away from the network's own answer."""
    network.eval()
    x = x.clone().requires_grad_()
    logits = network(x)
    cross_entropy(logits, logits.argmax(dim=1)).backward()
    network.zero_grad()
    network.train()
    return (x + EPSILON / 255 * x.grad.sign()).detach().clamp(0, 1)


def learned_from(network, x, y, adversarial):
    """The clean pictures, and the adversarial ones beside them or instead of half of them."""
    if adversarial is None:
        return x, y
    if adversarial == "full":
        return torch.cat([x, fgsm(network, x)]), torch.cat([y, y])
    half = len(x) // 2
    return torch.cat([x[:half], fgsm(network, x[half:])]), y


def plain_loop(model, seed, adversarial):
    torch.manual_seed(seed)
    network = SMALL[model.architecture]().train()
    runs, first = [(model.epochs, model.learning_rate)], 0
    if model.restart:
        runs.append((model.restart.epochs, model.restart.learning_rate))
    for epochs, peak in runs:
        one_run(model, seed, adversarial, network, range(first, first + epochs), peak)
        first += epochs
    return network.eval()


def one_run(model, seed, adversarial, network, epochs, peak):
    optimizer = {"sgd": Sgd, "adam": Adam}[model.optimizer](list(network.parameters()), model.weight_decay)
    steps, done = len(epochs) * (len(DATA.train_x) // model.batch), 0
    for epoch in epochs:
        order = np.random.default_rng([seed, epoch]).permutation(len(DATA.train_x))
        for start in range(0, len(order) - model.batch + 1, model.batch):
            chosen = order[start : start + model.batch]
            x = torch.tensor(DATA.train_x[chosen].transpose(0, 3, 1, 2) / 255, dtype=torch.float32)
            images, classes = learned_from(network, x, torch.tensor(DATA.train_y[chosen]), adversarial)
            network.zero_grad()
            cross_entropy(network(images), classes, model.label_smoothing).backward()
            share = (done + 0.5) / steps
            warm = share / 0.25 if share < 0.25 else (1 - share) / 0.75
            optimizer.step(peak * (warm if model.schedule == "one_cycle" else 1))
            done += 1


@pytest.mark.parametrize("restart", [None, Restart(epochs=1, learning_rate=0.03)], ids=["once", "restarted"])
@pytest.mark.parametrize("adversarial", [None, "full", "half"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_few_steps_are_those_of_a_plain_loop(tmp_path, exact, optimizer, adversarial, restart):
    keys = {"optimizer": optimizer, "weight_decay": 0.01, "label_smoothing": 0.1, "schedule": "one_cycle", "batch": 12}
    adversary = Adversary(EPSILON, batches=adversarial) if adversarial else None
    model = quick_model(**keys, adversary=adversary, restart=restart)
    network, history = trained(tmp_path, model)
    expected = plain_loop(model, 5, adversarial)
    for (name, tensor), other in zip(network.state_dict().items(), expected.state_dict().values(), strict=True):
        assert torch.allclose(tensor, other, rtol=1e-6, atol=1e-9), name
    assert not network.training
    assert [row["epoch"] for row in history.rows] == ([1, 2, 3] if restart else [1, 2])
    assert history.rows[-1]["dev_error"] == error(expected, DATA.dev_x, DATA.dev_y)


@pytest.mark.parametrize("adversarial", ["full", "half"])
def test_the_log_tells_clean_from_adversarial(tmp_path, exact, adversarial):
    model = quick_model(batch=32, epochs=1, adversary=Adversary(EPSILON, batches=adversarial))
    _, history = trained(tmp_path, model)
    torch.manual_seed(5)
    network = SMALL[model.architecture]().train()
    order = np.random.default_rng([5, 0]).permutation(32)
    x = torch.tensor(DATA.train_x[order].transpose(0, 3, 1, 2) / 255, dtype=torch.float32)
    images, classes = learned_from(network, x, torch.tensor(DATA.train_y[order]), adversarial)
    logits, clean = network(images).detach(), 16 if adversarial == "half" else 32
    (row,) = history.rows
    assert row["loss"] == pytest.approx(cross_entropy(logits[:clean], classes[:clean]).item(), rel=1e-6)
    assert row["adversarial_loss"] == pytest.approx(cross_entropy(logits[clean:], classes[clean:]).item(), rel=1e-6)


def test_standard_training_logs_no_adversarial_loss(tmp_path):
    _, history = trained(tmp_path, quick_model(epochs=1))
    assert [*history.rows[0]] == ["epoch", "seconds", "dev_error", "loss"]


def test_adversarial_training_logs_both_losses(tmp_path):
    _, history = trained(tmp_path, quick_model(epochs=1, adversary=Adversary(EPSILON)))
    assert [*history.rows[0]] == ["epoch", "seconds", "dev_error", "loss", "adversarial_loss"]


def log_of(path):
    return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(path.read_text().splitlines())]


def test_the_log_is_written_after_every_epoch(tmp_path):
    seen = []

    def report(done, total, row=None):
        if row is not None:
            seen.append(log_of(tmp_path / "a.csv"))

    _, history = trained(tmp_path, quick_model(epochs=3), report=report)
    assert seen == [history.rows[:epoch] for epoch in (1, 2, 3)]


@pytest.mark.parametrize("rate", [1e20, 1e38])
def test_a_loss_that_is_no_number_is_one_line(tmp_path, rate):
    line = fault(trained, tmp_path, quick_model(learning_rate=rate, optimizer="sgd"))
    assert re.fullmatch("epoch [12]: the loss is no number any more; take a smaller learning rate", line)


def test_the_seed_decides_everything(tmp_path):
    model = quick_model(architecture="model_d", augment="shift")
    one, again, other = (trained(tmp_path / name, model, seed=seed)[0] for name, seed in made(tmp_path, 3, 3, 4))
    assert same_state(one, again)
    assert not same_state(one, other)


def made(folder, *seeds):
    for number, seed in enumerate(seeds):
        (folder / str(number)).mkdir()
        yield str(number), seed


def test_a_static_source_is_left_as_it_is(tmp_path):
    source, twin = static_source(), static_source()
    trained(tmp_path, quick_model(adversary=Adversary(EPSILON, sources=["a"])), [source])
    assert same_state(source, twin)
    assert not source.training
    assert all(parameter.grad is None for parameter in source.parameters())


def test_a_batch_that_is_larger_than_the_data_is_one_line(tmp_path):
    assert fault(trained, tmp_path, quick_model(batch=33)).startswith("batch 33 is larger than the 32 images of digits")


# --- stopped and gone on


ENSEMBLE = {
    "sources": ["d"],
    "drawn_epsilon": "uniform",
    "attack": {"start": "signs", "relative_start_size": 0.5, "relative_step_size": 0.5},
}
MODELS = {
    "dropout": quick_model(architecture="model_d", optimizer="sgd"),
    "ensemble": quick_model(adversary=Adversary(EPSILON, **ENSEMBLE), augment="shift_flip", schedule="one_cycle"),
    "restart": quick_model(schedule="one_cycle", restart=Restart(epochs=1, learning_rate=0.02)),
    "half precision": quick_model(precision="bfloat16", adversary=Adversary(EPSILON, batches="half")),
}


class Stopped(Exception):
    """As a key that is pressed."""


def stopping(at, logged=False):
    """A report that stops after so many batches, in the middle or when the row of an epoch is told."""

    def report(done, total, row=None):
        if done == at and (row is not None) == logged:
            raise Stopped

    return report


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_what_was_stopped_goes_on_to_the_same_weights(tmp_path, model):
    model = replace(model, epochs=2 if model.restart else 3, batch=16)
    static = [static_source()] if model.sources else []
    (tmp_path / "whole").mkdir()
    whole, log = trained(tmp_path / "whole", model, static)
    # Before there is a checkpoint, as soon as there is one, within an epoch, before a restart, and when all is done.
    for at, logged in ((1, False), (2, True), (3, False), (4, True), (6, True)):
        with pytest.raises(Stopped):
            trained(tmp_path, model, static, report=stopping(at, logged))
    again, rest = trained(tmp_path, model, static, report=stopping(1))
    assert same_state(whole, again)
    assert without_seconds(log.rows) == without_seconds(rest.rows)
    assert [row["epoch"] for row in rest.rows] == [1, 2, 3]


def test_what_was_done_is_not_done_again(tmp_path):
    with pytest.raises(Stopped):
        trained(tmp_path, quick_model(), report=stopping(6))
    told = []
    trained(tmp_path, quick_model(), report=lambda done, total, row=None: told.append((done, total, row is not None)))
    assert told == [(5, 8, False), (6, 8, False), (7, 8, False), (8, 8, False), (8, 8, True)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["write_log", "save_checkpoint"])
def test_the_log_is_whole_wherever_the_last_epoch_was_stopped(tmp_path, monkeypatch, name, when):
    write, epochs = getattr(training.train, name), []

    def stopped_in_the_second_epoch(*arguments):
        epochs.append(len(epochs) + 1)
        if (epochs[-1], when) == (2, "before"):
            raise Stopped
        write(*arguments)
        if epochs[-1] == 2:
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(training.train, name, stopped_in_the_second_epoch)
        with pytest.raises(Stopped):
            trained(tmp_path, quick_model())
    _, history = trained(tmp_path, quick_model())
    assert [row["epoch"] for row in history.rows] == [1, 2]
    assert log_of(tmp_path / "a.csv") == history.rows


ONE_SOURCE = quick_model(adversary=Adversary(EPSILON, sources=["d"]))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"model": replace(ONE_SOURCE, learning_rate=0.02)}, id="learning rate"),
        pytest.param({"model": replace(ONE_SOURCE, architecture="grey_resnet")}, id="architecture"),
        pytest.param({"model": replace(ONE_SOURCE, adversary=Adversary(8, sources=["d"]))}, id="adversary"),
        pytest.param({"seed": 6}, id="seed"),
        pytest.param({"data": random_data(seed=1)}, id="data"),
        pytest.param({"static": [static_source(2)]}, id="source"),
        pytest.param({"static": [static_source(), static_source()]}, id="sources"),
    ],
)
def test_a_checkpoint_of_another_training_is_not_gone_on_from(tmp_path, other):
    own = {"model": ONE_SOURCE, "static": [static_source()]}
    with pytest.raises(Stopped):
        trained(tmp_path, **own, report=stopping(6))
    line = fault(trained, tmp_path, **{**own, **other})
    assert line.startswith(f"{tmp_path / 'a.checkpoint'}: is of another recipe, seed, data or source; ")
    assert trained(tmp_path, **own)[1].epoch == 2


def flipped(place):
    def flip(content):
        changed = bytearray(content)
        changed[int(place * len(content))] ^= 1
        return bytes(changed)

    return flip


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: bytes(len(content)), id="zeros"),
        pytest.param(lambda content: content[: len(content) // 2], id="half"),
        pytest.param(lambda content: content[:-1], id="one byte less"),
        pytest.param(lambda content: b"<html>", id="page"),
        pytest.param(flipped(0.3), id="a bit of the weights"),
        pytest.param(flipped(0.6), id="a bit of the optimizer"),
    ],
)
def test_a_damaged_checkpoint_is_one_line(tmp_path, damage):
    with pytest.raises(Stopped):
        trained(tmp_path, quick_model(), report=stopping(6))
    path = tmp_path / "a.checkpoint"
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    assert fault(trained, tmp_path, quick_model()).startswith(f"{path}: cannot be read as a checkpoint; remove it")
    assert path.read_bytes() == before


# --- batches


@given(number=st.integers(1, 40), batch=st.integers(1, 12), seed=st.integers(0, 9))
def test_batches_are_of_one_size_and_repeat_no_picture(number, batch, seed):
    data = random_data(number, side=3)
    data.train_x[:, 0, 0, 0] = np.arange(number)
    data.train_y[:] = np.arange(number) % 7
    found = list(batches(quick_model(batch=batch), data, np.random.default_rng(seed)))
    numbers = [round(value.item() * 255) for x, _ in found for value in x[:, 0, 0, 0]]
    assert [len(x) for x, _ in found] == [batch] * (number // batch)
    assert len({*numbers}) == len(numbers)
    assert [label % 7 for label in numbers] == [label.item() for _, y in found for label in y]


def test_every_epoch_has_another_order():
    model = quick_model(batch=32)
    orders = {next(batches(model, DATA, np.random.default_rng([0, epoch])))[1].numpy().tobytes() for epoch in range(4)}
    assert len(orders) == 4


def test_a_picture_becomes_numbers_from_0_to_1_with_channels_first():
    data = random_data(4, side=32, channels=3)
    ((x, y),) = batches(quick_model(batch=4), data, np.random.default_rng(0))
    order = np.random.default_rng(0).permutation(4)
    assert (x.dtype, y.dtype, x.shape) == (torch.float32, torch.int64, (4, 3, 32, 32))
    assert np.allclose(x.numpy().transpose(0, 2, 3, 1) * 255, data.train_x[order], atol=1e-4)
    assert y.tolist() == data.train_y[order].tolist()


def moved(picture, down, right, mirrored):
    """The picture moved by so many pixels, black where nothing was, and then perhaps mirrored."""
    height, width, _ = picture.shape
    result = np.zeros_like(picture)
    rows, columns = range(max(0, down), min(height, height + down)), range(max(0, right), min(width, width + right))
    for row in rows:
        for column in columns:
            result[row, column] = picture[row - down, column - right]
    return result[:, ::-1] if mirrored else result


@pytest.mark.parametrize(("augment", "mirrors"), [("shift", [False]), ("shift_flip", [False, True])])
@pytest.mark.parametrize("shift", [1, 2])
def test_pictures_are_moved_and_mirrored_evenly(augment, mirrors, shift):
    pixels = np.random.default_rng(0).integers(1, 256, (1, 5, 6, 3), dtype=np.uint8)
    steps = range(-shift, shift + 1)
    expected = {
        moved(pixels[0], down, right, mirrored).tobytes(): 0
        for down in steps
        for right in steps
        for mirrored in mirrors
    }
    found = augmented(pixels.repeat(4000, axis=0), quick_model(augment=augment, shift=shift), np.random.default_rng(1))
    for picture in found:
        expected[picture.tobytes()] += 1
    assert len(expected) == len(steps) ** 2 * len(mirrors)
    mean = 4000 / len(expected)
    assert all(abs(count - mean) < 5 * mean**0.5 for count in expected.values())


def test_every_picture_is_moved_by_itself():
    pixels = DATA.train_x.copy()
    found = augmented(pixels, quick_model(augment="shift_flip"), np.random.default_rng(0))
    ways = [(down, right, flip) for down in range(-2, 3) for right in range(-2, 3) for flip in (False, True)]
    chosen = [
        [way for way in ways if np.array_equal(moved(picture, *way), result)]
        for picture, result in zip(pixels, found, strict=True)
    ]
    assert all(len(matching) == 1 for matching in chosen)
    assert len({matching[0] for matching in chosen}) > 10
    assert np.array_equal(pixels, DATA.train_x)


def test_one_square_of_each_picture_is_painted_over_anywhere():
    pixels = np.zeros((3000, 20, 24, 3), dtype=np.uint8)
    grey = (cut(pixels, np.random.default_rng(0)) == GREY).all(axis=3)
    assert ((grey.any(axis=2).sum(axis=1) * grey.any(axis=1).sum(axis=1)) == grey.sum(axis=(1, 2))).all()
    heights, widths = grey.any(axis=2).sum(axis=1), grey.any(axis=1).sum(axis=1)
    assert (heights.max(), heights.min(), widths.max(), widths.min()) == (CUT, CUT // 2, CUT, CUT // 2)
    inner = grey[:, CUT:-CUT, CUT:-CUT].mean(axis=0)
    expected = CUT**2 / (20 * 24)
    assert np.abs(inner - expected).max() < 5 * np.sqrt(expected / 3000)
    assert not pixels.any()


def test_without_augmentation_pictures_stay():
    generator = np.random.default_rng(0)
    assert augmented(DATA.train_x, quick_model(), generator) is DATA.train_x
    assert generator.integers(1 << 30) == np.random.default_rng(0).integers(1 << 30)


# --- the schedule


def test_one_cycle_rises_and_falls_in_straight_lines():
    one_cycle = SCHEDULES["one_cycle"]
    places = [0, 0.125, 0.25, 0.625, 1]
    assert [one_cycle(place) for place in places] == [0, 0.5, 1, 0.5, 0]
    grid = np.linspace(0, 1, 41)
    assert np.allclose([one_cycle(place) for place in grid], np.interp(grid, [0, 0.25, 1], [0, 1, 0]))


def test_a_constant_rate_stays():
    assert {SCHEDULES["constant"](place) for place in (0, 0.3, 1)} == {1.0}


# --- errors


@pytest.mark.parametrize("batch", [3, 16, 500])
def test_an_error_is_the_share_of_wrong_answers(batch):
    torch.manual_seed(0)
    network = SMALL["grey_vgg"]()
    found = error(network, DATA.dev_x, DATA.dev_y, batch)
    with torch.no_grad():
        x = torch.tensor(DATA.dev_x[..., 0] / 255, dtype=torch.float32)[:, None]
        answers = network.eval()(x).argmax(dim=1).numpy()
    assert found == np.mean(answers != DATA.dev_y)
    assert error(network, DATA.dev_x, answers) == 0
    assert error(network, DATA.dev_x, (answers + 1) % 10) == 1
