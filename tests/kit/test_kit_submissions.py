"""Each submission keeps the contract when it is copied out of the project and called through its entry point.

The folder is someone else's (read-only), there is no home, and the working directory is anywhere.
"""

import csv
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from advkit.images import list_images, read_images

SUBMISSIONS = Path(__file__).resolve().parents[2] / "submissions"
FOLDERS = sorted(path.parent for path in SUBMISSIONS.glob("*/*/metadata.json"))
FOOLBOX = SUBMISSIONS / "attacks/foolbox_adam_pgd"
EPSILON = 16


def program_of(folder):
    return tuple((folder / name).read_bytes() for name in ("attack.py", "run_attack.sh"))


# One folder of each program; test_kit_configurations.py has those with the same program and another config.yaml.
PROGRAMS = list({program_of(folder): folder for folder in FOLDERS if folder.parent.name != "defenses"}.values())


def name_of(folder):
    return folder.name


@pytest.fixture
def copy(tmp_path):
    """The entry point of a copy of a submission's folder; the copy must be untouched in the end."""
    copies = []

    def copy(folder, config=None):
        target = tmp_path / "code" / folder.name
        shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__"))
        if config is not None:
            (target / "config.yaml").write_text(config)
        target.chmod(0o555)
        copies.append((target, sorted(target.rglob("*"))))
        return target / json.loads((target / "metadata.json").read_text())["entry_point"]

    yield copy
    for target, before in copies:
        assert sorted(target.rglob("*")) == before


@pytest.fixture
def attack(call, copy, input_dir, tmp_path):
    """Run an attack on the three photographs; gives the folder of what it made."""

    def attack(folder, inputs=input_dir, seed=0, config=None):
        made = Path(tmp_path, f"output-{len(list(tmp_path.iterdir()))}")
        made.mkdir()
        entry_point = tmp_path / "code" / folder.name / "run_attack.sh"
        entry_point = entry_point if entry_point.exists() else copy(folder, config)
        result = call(entry_point, inputs, made, EPSILON, seed=seed)
        assert (result.returncode, result.stderr) == (0, "")
        return made

    return attack


def check_images(folder, input_dir, made):
    """Every image is there, inside the ball, and the ball is used."""
    clean = list_images(input_dir)
    assert sorted(path.name for path in made.iterdir()) == [path.name for path in clean]
    pixels = read_images(list_images(made))
    difference = np.abs(pixels.astype(int) - read_images(clean))
    assert difference.max() == (0 if folder.name == "noop" else EPSILON)


def label_space(folder):
    """That of its networks; what has none plays in any."""
    if folder.name in ("noop", "random_noise", "perlin_noise"):
        return None
    first = folder.name.split("_")[0]
    return first if first in ("digits", "cifar10") else "imagenet-1001"


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_metadata_says_what_the_contract_wants(folder):
    metadata = json.loads((folder / "metadata.json").read_text())
    kind = {"attacks": "attack", "targeted_attacks": "targeted_attack", "defenses": "defense"}[folder.parent.name]
    assert metadata["type"] == kind
    assert os.access(folder / metadata["entry_point"], os.X_OK)
    assert metadata.get("labels") == label_space(folder)
    assert {"container", "container_gpu", "description"} <= metadata.keys()


@pytest.mark.parametrize("folder", [folder for folder in PROGRAMS if folder != FOOLBOX], ids=name_of)
def test_an_attack_writes_every_image_inside_the_ball(attack, input_dir, folder):
    check_images(folder, input_dir, attack(folder))


def test_the_attack_of_a_library_does_not_ask_for_git(attack, input_dir, tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "dirname").symlink_to(shutil.which("dirname"))
    monkeypatch.setattr(os, "defpath", str(programs))  # where `call` looks for all programs but Python
    config = "{surrogates: [efficientnet_lite0], steps: 2, relative_step_size: 0.5}"
    check_images(FOOLBOX, input_dir, attack(FOOLBOX, config=config))


def test_perlin_noise_is_one_perturbation_for_every_image(attack, input_dir):
    folder = SUBMISSIONS / "attacks/perlin_noise"
    first, again, other = (read_images(list_images(attack(folder, seed=seed))) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    clean = read_images(list_images(input_dir)).astype(int)
    untouched_by_the_range = (clean >= EPSILON) & (clean <= 255 - EPSILON)
    highest, lowest = (
        extreme(np.where(untouched_by_the_range, first - clean, -sign * EPSILON), axis=(0, 3))
        for extreme, sign in ((np.max, 1), (np.min, -1))
    )
    seen = untouched_by_the_range.any(axis=(0, 3))
    assert np.array_equal(highest[seen], lowest[seen])
    assert set(np.unique(highest[seen]).tolist()) == {-EPSILON, EPSILON}
    assert seen.mean() > 0.9


def test_perlin_noise_vanishes_on_its_lattice_and_is_smooth():
    perlin = runpy.run_path(str(SUBMISSIONS / "attacks/perlin_noise/attack.py"))["perlin"]
    noise = perlin((121, 181), 20, np.random.default_rng(0))
    assert np.allclose(noise[::20, ::20], 0)
    assert noise.std() > 0.1
    assert max(np.abs(np.diff(noise, axis=axis)).max() for axis in (0, 1)) < 3 / 20


def test_noop_copies_bytes(attack, input_dir):
    output_dir = attack(SUBMISSIONS / "attacks/noop")
    for path in list_images(input_dir):
        assert (output_dir / path.name).read_bytes() == path.read_bytes()


def test_random_noise_depends_on_seed_and_image_only(attack, input_dir, tmp_path):
    folder = SUBMISSIONS / "attacks/random_noise"
    one = list_images(input_dir)[1]
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copyfile(one, alone / one.name)
    first, again, other, single = (
        (attack(folder, inputs, seed) / one.name).read_bytes()
        for inputs, seed in [(input_dir, 1), (input_dir, 1), (input_dir, 2), (alone, 1)]
    )
    assert first == again == single != other


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1_jpeg"])
def test_a_defense_labels_every_image(call, copy, input_dir, photos, tmp_path, name):
    result = call(copy(SUBMISSIONS / "defenses" / name), input_dir, tmp_path / "result.csv")
    assert (result.returncode, result.stderr) == (0, "")
    with (tmp_path / "result.csv").open(newline="") as file:
        answers = {row[0]: int(row[1]) for row in csv.reader(file)}
    assert answers == {path.name: photos.true_labels[path.name] for path in list_images(input_dir)}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{input}", "{output}"], 2, "usage: attack.py INPUT_DIR OUTPUT_DIR MAX_EPSILON"),
        (["{input}", "{output}", "1.5"], 1, "error: MAX_EPSILON must be an integer from 0 to 255, not '1.5'"),
        (["{input}", "{output}", "256"], 1, "error: MAX_EPSILON must be an integer from 0 to 255, not '256'"),
        (["{input}/missing", "{output}", "8"], 1, "error: {input}/missing: no such folder"),
        (["{output}", "{output}", "8"], 1, "error: {output}: no PNG image in this folder"),
    ],
)
def test_a_wrong_call_is_one_line_and_an_exit_code(call, copy, input_dir, tmp_path, arguments, code, message):
    folders = {"input": str(input_dir), "output": str(tmp_path / "output")}
    Path(folders["output"]).mkdir()
    result = call(copy(SUBMISSIONS / "attacks/noop"), *(text.format(**folders) for text in arguments))
    assert (result.returncode, result.stderr) == (code, message.format(**folders) + "\n")


def test_a_missing_output_folder_is_noticed_before_the_work(call, copy, input_dir, tmp_path):
    result = call(copy(SUBMISSIONS / "defenses/efficientnet_lite0"), input_dir, tmp_path / "missing/result.csv")
    assert (result.returncode, result.stderr) == (1, f"error: {tmp_path}/missing: no such folder\n")


def test_a_wrong_configuration_is_one_line_and_exit_code_1(call, copy, input_dir, tmp_path):
    entry_point = copy(SUBMISSIONS / "defenses/efficientnet_lite0", config="networks: efficientnet_light0\n")
    result = call(entry_point, input_dir, tmp_path / "result.csv")
    message = "error: network 'efficientnet_light0' is unknown: did you mean efficientnet_lite0?\n"
    assert (result.returncode, result.stderr) == (1, message)
    assert not (tmp_path / "result.csv").exists()


@pytest.mark.parametrize("name", ["noop", "random_noise", "perlin_noise"])
def test_an_attack_without_a_network_starts_without_torch(name):
    script = SUBMISSIONS / "attacks" / name / "attack.py"
    code = f"import runpy, sys; runpy.run_path({str(script)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
