"""Each submission keeps the contract when it is copied out of the project and called through its entry point.

The folder is someone else's (read-only), there is no home, and the working directory is anywhere.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from advkit.images import list_images, read_images
from advkit.labels import label_of
from advkit.networks import load_network, predict
from advkit.tensors import to_tensor

SUBMISSIONS = Path(__file__).resolve().parents[2] / "submissions"
FOLDERS = sorted(path.parent for path in SUBMISSIONS.glob("*/*/metadata.json"))
ATTACKS = [folder for folder in FOLDERS if folder.parent.name != "defenses"]
EPSILON = 16
# What an iterative attack must reach on its own surrogate.
AIMS = {
    "ifgsm": lambda photos, name, label: label != photos.true_labels[name],
    "iter_target_class": lambda photos, name, label: label == photos.target_labels[name],
}


def name_of(folder):
    return folder.name


def surrogate_labels(pixels):
    classes = predict(load_network("efficientnet_lite0"), to_tensor(pixels))
    return [label_of(index) for index in classes.tolist()]


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

    def attack(folder, inputs=input_dir, seed=0):
        output_dir = Path(tmp_path, f"output-{len(list(tmp_path.iterdir()))}")
        output_dir.mkdir()
        entry_point = tmp_path / "code" / folder.name / "run_attack.sh"
        entry_point = entry_point if entry_point.exists() else copy(folder)
        result = call(entry_point, inputs, output_dir, EPSILON, seed=seed)
        assert (result.returncode, result.stderr) == (0, "")
        return output_dir

    return attack


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_metadata_says_what_the_contract_wants(folder):
    metadata = json.loads((folder / "metadata.json").read_text())
    kind = {"attacks": "attack", "targeted_attacks": "targeted_attack", "defenses": "defense"}[folder.parent.name]
    assert metadata["type"] == kind
    assert os.access(folder / metadata["entry_point"], os.X_OK)
    assert metadata["labels"] == "imagenet-1001"
    assert {"container", "container_gpu", "description"} <= metadata.keys()


@pytest.mark.parametrize("folder", ATTACKS, ids=name_of)
def test_an_attack_writes_every_image_inside_the_ball(attack, input_dir, photos, folder):
    output_dir = attack(folder)
    clean, adversarial = (list_images(folder) for folder in (input_dir, output_dir))
    assert sorted(path.name for path in output_dir.iterdir()) == [path.name for path in clean]
    pixels = read_images(adversarial)
    difference = np.abs(pixels.astype(int) - read_images(clean))
    assert difference.max() == (0 if folder.name == "noop" else EPSILON)
    if folder.name in AIMS:
        labels = surrogate_labels(pixels)
        assert all(AIMS[folder.name](photos, path.name, label) for path, label in zip(clean, labels, strict=True))


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
    entry_point = copy(SUBMISSIONS / "defenses/efficientnet_lite0", config="network: efficientnet_light0\n")
    result = call(entry_point, input_dir, tmp_path / "result.csv")
    message = "error: network 'efficientnet_light0' is unknown: did you mean efficientnet_lite0?\n"
    assert (result.returncode, result.stderr) == (1, message)
    assert not (tmp_path / "result.csv").exists()


@pytest.mark.parametrize("name", ["noop", "random_noise"])
def test_an_attack_without_a_network_starts_without_torch(name):
    script = SUBMISSIONS / "attacks" / name / "attack.py"
    code = f"import runpy, sys; runpy.run_path({str(script)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
