"""What is said of trained networks is what the flags of images say: attacks by hand give the same flags, every attack
is made on every surrogate for every network, and a figure stands in an interval that is as wide as it must be."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from training_files import fault
from training_tiny import Linear

from advkit.networks.loading import load_trained
from advkit.networks.small import SMALL
from advkit.weights.stored import serialise, without_counters
from training import evaluate, findings
from training.evaluate import Images, clean_errors, losses, read_attacks, transfer_errors
from training.findings import FINDINGS, Rates, Results
from training.measure import LATER, SINGLE_STEP, WHITE_BOX, Key, about, is_about, is_of, measure, save_rows
from training.recipe import Family, Study

EPSILON = 20.0
ATTACKS = read_attacks(0.25)


def images(number=40, side=8, channels=1, seed=0):
    """Grey enough that an attack cuts nothing."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(70, 186, (number, side, side, channels), dtype=np.uint8)
    return Images(pixels, generator.integers(10, size=number))


def tensors(shown):
    return torch.tensor(shown.pixels.transpose(0, 3, 1, 2) / 255, dtype=torch.float32), torch.tensor(shown.classes)


def wrong(network, x, y):
    with torch.no_grad():
        return (network(x).argmax(dim=1) != y).numpy()


class Seeing(Linear):
    """Remembers what it was shown."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return super().forward(x)


# --- one attack


def test_clean_errors_are_those_of_the_images_as_they_are():
    shown = images(30)
    networks = {"a": Linear(0), "b": Linear(1)}
    found = clean_errors(networks, shown)
    assert [*found] == ["a", "b"]
    for name, network in networks.items():
        assert np.array_equal(found[name], wrong(network, *tensors(shown)))


@pytest.mark.parametrize("number", [7, 25, 60])
def test_fgsm_in_the_white_box_is_one_by_hand(monkeypatch, number):
    """It leaves the true class, also where the network takes the image for another."""
    monkeypatch.setattr(evaluate, "BATCH", 25)
    network, shown = Linear(), images(number)
    x, y = tensors(shown)
    x_adv = x + EPSILON / 255 * network.gradient(x, y).sign()
    found = transfer_errors({"a": network}, network, ATTACKS["fgsm"], EPSILON, shown)["a"]
    assert (found.dtype, found.shape) == (bool, (number,))
    assert np.array_equal(found, wrong(network, x_adv, y))


def test_a_transfer_is_made_on_the_surrogate_and_shown_to_all_alike():
    source, targets = Linear(0), {"a": Seeing(1), "b": Seeing(2)}
    shown = images()
    x, y = tensors(shown)
    x_adv = x + EPSILON / 255 * source.gradient(x, y).sign()
    found = transfer_errors(targets, source, ATTACKS["fgsm"], EPSILON, shown)
    for name, network in targets.items():
        assert torch.allclose(network.seen[0], x_adv, atol=1e-6)
        assert np.array_equal(found[name], wrong(network, x_adv, y))
    assert torch.equal(targets["a"].seen[0], targets["b"].seen[0])


def test_random_fgsm_splits_epsilon_as_the_task_says():
    source, target = Linear(0), Seeing(1)
    shown = images()
    transfer_errors({"a": target}, source, ATTACKS["r_fgsm"], EPSILON, shown)
    change = (target.seen[0] - tensors(shown)[0]).abs() * 255 / EPSILON
    # A quarter at random and three along the gradient: together or against each other.
    along = torch.isclose(change, torch.tensor(1.0), atol=1e-4)
    assert torch.isclose(change[~along], torch.tensor(0.5), atol=1e-4).all()
    assert abs(along.float().mean() - 0.5) < 4 * 0.5 / change.numel() ** 0.5


def test_step_ll_goes_to_the_least_likely_class():
    source, target = Linear(0), Seeing(1)
    shown = images()
    transfer_errors({"a": target}, source, ATTACKS["step_ll"], EPSILON, shown)
    x, _ = tensors(shown)
    expected = x - EPSILON / 255 * source.gradient(x, source(x).argmin(dim=1)).sign()
    assert torch.allclose(target.seen[0], expected, atol=1e-6)


def test_attacks_are_all_of_those_that_are_measured():
    assert {*ATTACKS} == {*WHITE_BOX, *LATER}
    assert {*SINGLE_STEP} < {*WHITE_BOX}
    for config in ATTACKS.values():
        start = config.relative_start_size if config.start == "signs" else 0
        assert start + config.steps * config.relative_step_size >= 1
    assert all(ATTACKS[name].steps == 1 for name in SINGLE_STEP)
    assert (ATTACKS["pgd20"].steps, ATTACKS["pgd20"].start) == (20, "uniform")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_stays_in_the_ball_and_is_the_same_each_time(attack, channels):
    torch.manual_seed(0)
    source = SMALL["model_d"]().eval().requires_grad_(False)
    shown = images(3, 28, channels)
    x, _ = tensors(shown)
    seen = []

    def target(x_adv):
        seen.append(x_adv)
        return source(x_adv)

    for _ in range(2):
        transfer_errors({"a": target}, source, ATTACKS[attack], EPSILON, shown)
    assert (seen[0] - x).abs().max().item() == pytest.approx(EPSILON / 255, abs=1e-5)
    assert torch.equal(*seen)


# --- the loss after an attack


def test_losses_are_those_after_each_attack():
    network, shown = Linear(), images(30)
    x, y = tensors(shown)
    direction = EPSILON / 255 * network.gradient(x, y).sign()
    half = evaluate.attack_config({"relative_step_size": 0.5})
    expected = [F.cross_entropy(network(x + share * direction), y, reduction="none").detach() for share in (0.5, 1)]
    found = losses(network, [half, ATTACKS["fgsm"]], EPSILON, shown)
    assert (found.dtype, found.shape) == (np.float32, (2, 30))
    assert np.allclose(found, torch.stack(expected), rtol=1e-4)


def test_each_random_start_is_another():
    first, second = losses(Linear(), [ATTACKS["pgd20"]] * 2, EPSILON, images(30))
    assert not np.array_equal(first, second)


# --- a study

FAMILY = Family("adv", "ens", ["held", "other"], ["held_adv"])
STUDY = Study([60.0], 0.25, images=25, later_images=20, families={"plain": FAMILY})
SEEDS = {"plain": 0, "adv": 1, "ens": 2, "held": 3, "other": 2, "held_adv": 4}
"""Of the weights: what is made on one of the hold-outs has its effect on the ensemble-adversarial network."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of networks with random weights."""
    folder = tmp_path_factory.mktemp("networks")
    for name, seed in SEEDS.items():
        torch.manual_seed(seed)
        state = without_counters(SMALL["model_d"]().state_dict())
        (folder / f"{name}.safetensors").write_bytes(serialise(state, {"architecture": "model_d"}))
    return folder


def network_of(folder, name):
    return load_trained(folder / f"{name}.safetensors").requires_grad_(False)


@pytest.fixture(scope="module")
def shown(folder):
    """Images of the classes that one of the networks takes them for."""
    found = images(30, 28)
    return Images(found.pixels, network_of(folder, "ens")(tensors(found)[0]).argmax(dim=1).numpy())


@pytest.fixture(scope="module")
def measured(folder, shown):
    return measure(STUDY, folder, shown, {}, lambda rows: None)


def keys_at(epsilon):
    """All that is measured of a family under attack: every attack on every surrogate for every network."""
    targets = ["plain", "adv", "ens"]
    own = (*WHITE_BOX, "loss_step", "loss_best")
    surrogates = ("held", "other", "held_adv", "held + other", "held + other + held_adv")
    keys = {Key(epsilon, name, attack, name) for name in targets for attack in own}
    attacks = (*SINGLE_STEP, *LATER)
    return keys | {Key(epsilon, one, attack, name) for one in surrogates for attack in attacks for name in targets}


def test_every_attack_is_made_on_every_surrogate_for_every_network(measured):
    assert {*measured} == keys_at(60) | {Key(0, "clean", "clean", name) for name in ("plain", "adv", "ens")}


def test_iterative_attacks_are_made_on_fewer_images(measured):
    for key, row in measured.items():
        is_loss = key.attack in ("loss_step", "loss_best")
        assert len(row) == (25 if key.attack in ("clean", *SINGLE_STEP) else 20), key
        assert row.dtype == (np.float32 if is_loss else bool), key


def test_the_best_loss_is_the_largest_and_the_step_is_that_of_fgsm(measured, folder, shown):
    network, first = network_of(folder, "ens"), shown.first(20)
    x, y = tensors(first)
    picture = x.clone().requires_grad_()
    F.cross_entropy(network(picture), y, reduction="sum").backward()
    with torch.no_grad():
        expected = F.cross_entropy(network(x + 60 / 255 * picture.grad.sign()), y, reduction="none")
    step, best = (measured[Key(60, "ens", attack, "ens")] for attack in ("loss_step", "loss_best"))
    assert np.allclose(step, expected, rtol=1e-4)
    attacks = [ATTACKS[name] for name in ("fgsm", "r_fgsm", "ifgsm", "pgd20", "pgd20", "pgd20")]
    assert np.array_equal(best, losses(network, attacks, 60, first).max(axis=0))
    assert (best > step).any()


@pytest.mark.parametrize(("surrogate", "name"), [("plain", "plain"), ("ens", "ens"), ("held", "ens"), ("other", "adv")])
def test_fgsm_is_measured_as_by_hand(measured, folder, shown, surrogate, name):
    x, y = tensors(shown.first(25))
    picture = x.clone().requires_grad_()
    F.cross_entropy(network_of(folder, surrogate)(picture), y).backward()
    x_adv = x + 60 / 255 * picture.grad.sign()
    assert np.array_equal(measured[Key(60, surrogate, "fgsm", name)], wrong(network_of(folder, name), x_adv, y))


def test_clean_errors_are_measured(measured, folder, shown):
    x, y = tensors(shown.first(25))
    assert not measured[Key(0, "clean", "clean", "ens")].any()
    assert np.array_equal(measured[Key(0, "clean", "clean", "adv")], wrong(network_of(folder, "adv"), x, y))


def test_hold_outs_together_are_the_mean_of_their_logits(measured, folder, shown):
    x, y = tensors(shown.first(20))
    networks, x_adv = [network_of(folder, name) for name in ("held", "other")], x
    for _ in range(10):
        picture = x_adv.clone().requires_grad_()
        F.cross_entropy(sum(network(picture) for network in networks) / 2, y).backward()
        x_adv = x + (x_adv + 6 / 255 * picture.grad.sign() - x).clamp(-60 / 255, 60 / 255)
    found = measured[Key(60, "held + other", "ifgsm", "ens")]
    assert np.array_equal(found, wrong(network_of(folder, "ens"), x_adv, y))
    assert not np.array_equal(found, measured[Key(60, "held", "ifgsm", "ens")])


def test_a_network_that_was_not_trained_is_named(folder, shown):
    study = Study([EPSILON], 0.25, 9, 4, {"plain": Family("adv", "ens", ["nowhere"])})
    line = fault(measure, study, folder, shown, {}, lambda rows: None)
    assert line.startswith(f"{folder / 'nowhere.safetensors'}: is not there; ")
    assert line.endswith("python -m training train RECIPE --networks nowhere")


NAME = st.from_regex("[a-z0-9_]+", fullmatch=True)


@given(epsilon=st.sampled_from([0, 8, 16, 76.5]), attack=NAME, network=NAME, members=st.lists(NAME, min_size=1))
def test_a_key_is_read_as_it_was_written(epsilon, attack, network, members):
    key = Key(epsilon, " + ".join(members), attack, network)
    assert Key.parse(str(key)) == key


def test_rows_come_back_from_their_file(measured, tmp_path):
    path = tmp_path / "flags.npz"
    save_rows(path, measured, "{}")
    results = Results.read([path])
    assert [*tmp_path.iterdir()] == [path]
    for key, row in measured.items():
        part = results.first if len(row) == 20 else results.all
        assert part.of_seeds[0][key] == pytest.approx(row.mean(), rel=1e-6)


def test_rows_are_known_by_the_study_and_the_networks(folder, tmp_path):
    networks = shutil.copytree(folder, tmp_path / "networks")
    path, now = tmp_path / "flags.npz", about(STUDY, networks)
    assert not is_about(path, now)
    save_rows(path, {}, now)
    assert is_about(path, about(STUDY, networks))
    assert is_of(path, STUDY)
    other = replace(STUDY, relative_start_size=0.5)
    assert not is_about(path, about(other, networks))
    assert not is_of(path, other)
    shutil.copyfile(networks / "plain.safetensors", networks / "held.safetensors")
    assert not is_about(path, about(STUDY, networks))
    assert is_of(path, STUDY)


@pytest.mark.parametrize("damage", ["no measurements", "half a file", "text"])
def test_what_are_no_measurements_is_named(tmp_path, damage):
    path = tmp_path / "flags.npz"
    np.savez(path, a=np.ones(300))
    if damage != "no measurements":
        path.write_bytes(path.read_bytes()[:300] if damage == "half a file" else b"flags\n")
    assert fault(is_about, path, "") == f"{path}: cannot be read as measurements; remove it, and measure again"


# --- figures

A, B = Key(20, "a", "fgsm", "a"), Key(20, "b", "fgsm", "b")


def rates(**rows):
    """Results of one row, or of two, of seeds x images."""
    return Results({{"a": A, "b": B}[name]: np.array(row, float) for name, row in rows.items()})


def of(key):
    return lambda means: means[key]


def larger(means):
    return max(means[A], means[B])


def test_a_value_is_the_mean_and_its_deviation_that_of_the_seeds():
    results = rates(a=[[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]])
    number = results.all.number(of(A))
    assert (results.seeds, results.images) == (3, 4)
    assert number.value == pytest.approx(5 / 12)
    # Of 3/4, 1/2 and 0: the mean is 5/12, the squares 16/144, 1/144 and 25/144.
    assert number.deviation == pytest.approx((42 / 144 / 2) ** 0.5)
    assert number.low <= number.value <= number.high


def test_the_worst_is_sought_for_each_seed():
    """Of the means over both seeds, both 1/2, the larger is 1/2."""
    number = rates(a=[[0, 0], [1, 1]], b=[[1, 1], [0, 0]]).all.number(larger)
    assert (number.value, number.deviation) == (1, 0)


def test_the_worst_is_sought_anew_in_each_draw_of_images():
    """Whatever is drawn of two images, of which one row has the one and one row the other, one row has the half."""
    number = rates(a=[[0, 1]], b=[[1, 0]]).all.number(larger)
    assert (number.value, number.low, number.high) == (0.5, 0.5, 1)


def test_one_seed_has_no_deviation():
    assert np.isnan(rates(a=[[0, 1]]).all.number(of(A)).deviation)


@pytest.mark.parametrize(("number", "share"), [(400, 0.3), (1000, 0.05)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_of_seeds_that_agree_is_about_the_binomial_one(number, share, seeds):
    """No narrower for three of them."""
    flags = [np.arange(number) < share * number] * seeds
    found = rates(a=flags).all.number(of(A))
    half = 1.96 * (share * (1 - share) / number) ** 0.5
    assert found.low == pytest.approx(share - half, abs=half / 8)
    assert found.high == pytest.approx(share + half, abs=half / 8)


def test_seeds_are_drawn_too():
    """Two seeds, one always wrong: a quarter of the draws has the one twice, a quarter the other."""
    number = rates(a=[[0] * 9, [1] * 9]).all.number(of(A))
    assert (number.value, number.low) == (0.5, 0)
    assert number.high == pytest.approx(1)


def test_the_interval_is_as_wide_as_seeds_and_images_make_it():
    seeds, images = 20, 200
    shares = np.linspace(0.3, 0.7, seeds)
    generator = np.random.default_rng(0)
    flags = np.array([generator.permutation(np.arange(images) < share * images) for share in shares])
    found = rates(a=flags).all.number(of(A))
    by_image = flags.mean(axis=0)  # an image that is drawn is drawn for all seeds
    half = 1.96 * (flags.mean(axis=1).var() / seeds + by_image.var() / images) ** 0.5
    assert half > 1.2 * 1.96 * (by_image.var() / images) ** 0.5
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.12)


@given(flags=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=3))
def test_a_share_lies_in_its_interval(flags):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(findings, "RESAMPLES", 200)
        number = rates(a=flags).all.number(of(A))
    rounding = 1e-6
    assert -rounding <= number.low <= number.value + rounding
    assert number.value - rounding <= number.high <= 1 + rounding


def test_networks_and_attacks_see_the_same_draw():
    flags = np.random.default_rng(0).random((2, 60)) < 0.5
    equal = rates(a=flags, b=flags).all.number(lambda means: means[A] - means[B])
    assert (equal.value, equal.low, equal.high) == (0, 0, 0)
    total = rates(a=flags, b=~flags).all.number(lambda means: means[A] + means[B])
    assert (total.low, total.high) == (pytest.approx(1), pytest.approx(1))


def test_a_figure_is_the_same_each_time():
    flags = np.random.default_rng(0).random((2, 60)) < 0.5
    first, second = (rates(a=flags, b=~flags).all.number(larger) for _ in range(2))
    assert first == second


def test_a_share_of_nothing_is_no_number():
    """Also where it is nothing for one seed alone, and no warning is given."""
    assert findings.ratio(1, 4) == 0.25
    assert np.isnan(findings.ratio(0, 0))
    number = rates(a=[[0, 1], [0, 1]], b=[[1, 1], [0, 0]]).all.number(lambda means: findings.ratio(means[A], means[B]))
    assert np.isnan([number.value, number.low, number.high, number.deviation]).all()


def test_short_rows_are_compared_on_their_own_images():
    results = rates(a=[[0, 0, 1, 1, 1, 1]], b=[[1, 0, 1]])
    assert (results.images, results.later_images) == (6, 3)
    assert [*results.all.of_seeds[0]] == [A]
    assert results.all.of_seeds[0][A] == pytest.approx(4 / 6)
    assert results.first.of_seeds[0] == {A: pytest.approx(1 / 3), B: pytest.approx(2 / 3)}


def test_results_are_read_from_the_files_of_the_seeds(tmp_path):
    paths = [tmp_path / f"{seed}.npz" for seed in (0, 1)]
    for path, flags in zip(paths, ([True, False, True], [False, False, True]), strict=True):
        save_rows(path, {A: np.array(flags), B: np.array([0.25], np.float32)}, "{}")
    results = Results.read(paths)
    assert [means[A] for means in results.all.of_seeds] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert results.first.number(of(B)).value == 0.25


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param({A: np.ones(3)}, id="less"),
        pytest.param({A: np.ones(3), B: np.ones(2), replace(A, epsilon=8): np.ones(3)}, id="more"),
        pytest.param({A: np.ones(3), replace(B, network="c"): np.ones(2)}, id="other networks"),
        pytest.param({A: np.ones(3), B: np.ones(3)}, id="other images"),
    ],
)
def test_files_of_different_studies_are_refused(tmp_path, rows):
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    save_rows(one, {A: np.ones(3), B: np.ones(2)}, "{}")
    save_rows(other, rows, "{}")
    line = fault(Results.read, [one, other])
    assert line == f"{other}: was measured by another study than {one}; measure both again"


# --- the statements

OF_ACCOUNT = {
    ("plain", "fgsm", "plain"): 0.60,
    ("plain", "r_fgsm", "plain"): 0.70,
    ("adv", "fgsm", "adv"): 0.05,
    ("adv", "r_fgsm", "adv"): 0.35,
    ("adv", "pgd20", "adv"): 0.97,
    ("ens", "pgd20", "ens"): 0.99,
    ("held", "fgsm", "adv"): 0.30,
    ("other", "fgsm", "adv"): 0.45,
    ("held", "r_fgsm", "adv"): 0.50,
    ("held", "fgsm", "ens"): 0.04,
    ("other", "r_fgsm", "ens"): 0.10,
    ("held_adv", "step_ll", "ens"): 0.12,
    ("held", "mi_fgsm", "ens"): 0.30,
    ("held + other", "ssa", "ens"): 0.55,
    ("held + other + held_adv", "vmi_fgsm", "ens"): 0.65,
    ("adv", "loss_step", "adv"): 1.5,
    ("adv", "loss_best", "adv"): 6.0,
}
# No plain hold-out, no single step, another network, another attack.
OF_NONE = [
    ("held_adv", "fgsm", "adv"),
    ("held + other", "r_fgsm", "adv"),
    ("held", "mi_fgsm", "adv"),
    ("held", "fgsm", "plain"),
    ("ens", "fgsm", "ens"),
]
MEANS = (
    dict.fromkeys(keys_at(EPSILON) | {Key(0, "clean", "clean", "ens")}, 0.01)
    | dict.fromkeys(keys_at(8), 0.9)
    | {Key(EPSILON, *names): value for names, value in OF_ACCOUNT.items()}
    | {Key(EPSILON, *names): 0.9 for names in OF_NONE}
)
STATEMENTS = [
    ("1. ", 0.45 - 0.05),
    ("2. R+FGSM minus FGSM, white box, plain", 0.70 - 0.60),
    ("2. R+FGSM minus FGSM, white box, adversarially trained", 0.35 - 0.05),
    ("2. That gain, adversarially trained minus plain", 0.30 - 0.10),
    ("3. ", 0.10 / 0.50),
    ("4. PGD-20, white box, adversarially trained", 0.97),
    ("4. PGD-20, white box, ensemble-adversarially trained", 0.99),
    ("5. ", 0.65 - 0.12),
]


def test_the_statements_by_hand():
    for finding, (text, value) in zip(FINDINGS, STATEMENTS, strict=True):
        assert finding.text.startswith(text)
        assert finding.statistic(Rates(MEANS, EPSILON, FAMILY), "plain", FAMILY) == pytest.approx(value)


def test_rates_by_hand():
    rates = Rates(MEANS, EPSILON, FAMILY)
    assert (rates.clean("ens"), rates.white_box("adv", "fgsm"), rates.loss_ratio("adv")) == (0.01, 0.05, 0.25)
    single, later = rates.single_step("ens"), rates.later("ens")
    surrogates = ("held", "other", "held_adv", "held + other", "held + other + held_adv")
    assert {*rates.black_box("ens")} == {(one, attack) for one in ("held", "other") for attack in SINGLE_STEP}
    assert {*single} == {(one, attack) for one in surrogates for attack in SINGLE_STEP}
    assert {*later} == {(one, attack) for one in surrogates for attack in LATER}
    for pair, value in (rates.black_box("ens") | single | later).items():
        assert value == OF_ACCOUNT.get((*pair, "ens"), 0.01)


def test_a_statement_of_iterative_attacks_is_of_the_first_images_and_others_are_of_all():
    short, long = np.array([[1.0, 1, 1, 0]]), np.array([[0.0] * 4 + [1] * 4])
    results = Results({key: long if key.attack in SINGLE_STEP else short for key in keys_at(EPSILON)})
    found = {finding.text[:1]: finding.number(results, "plain", FAMILY, EPSILON) for finding in FINDINGS}
    assert (found["3"].value, found["4"].value, found["5"].value) == (1, 0.75, 0.75)
    assert [finding.later for finding in FINDINGS] == [False] * 5 + [True] * 3
    assert [finding.scale for finding in FINDINGS] == [100] * 4 + [1] + [100] * 3


def test_all_statements_can_be_made_of_what_is_measured(measured, monkeypatch):
    monkeypatch.setattr(findings, "RESAMPLES", 20)
    results = Results({key: row.astype(float)[None] for key, row in measured.items()})
    for finding in FINDINGS:
        number = finding.number(results, "plain", FAMILY, 60.0)
        assert np.isfinite([number.value, number.low, number.high]).all()
