"""The defenses are one program with different settings, and each is a function of one image alone.

A referee asks a defense for each image once, under any name, in any order and company, and keeps the answer.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from advkit.classify import Config
from advkit.config import read_config
from advkit.images import list_images, read_images, round_pixels, write_image
from advkit.networks import NETWORKS, TRAINED
from advkit.networks.inception_v3 import InceptionV3
from advkit.transforms import make_transforms
from training.data import load

DEFENSES = Path(__file__).resolve().parents[2] / "submissions/defenses"
FOLDERS = sorted(path.parent for path in DEFENSES.glob("*/config.yaml"))
RANDOM = DEFENSES / "efficientnet_lite1_random_resize_pad"


def settings(folder):
    return read_config(folder / "config.yaml", Config)


def networks(folder):
    names = settings(folder).networks
    return [names] if isinstance(names, str) else list(names)


WITH_WEIGHTS = [folder for folder in FOLDERS if all(name.startswith("efficientnet_lite") for name in networks(folder))]


def name_of(folder):
    return folder.name


def copy(folder, target, **settings):
    """The entry point of a copy of the folder, with other lines in its config.yaml."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__"))
    config = (target / "config.yaml").read_text()
    for key, value in settings.items():
        lines = [line for line in config.splitlines() if not line.startswith(f"{key}:")]
        config = "\n".join([*lines, f"{key}: {value}", ""])
    (target / "config.yaml").write_text(config)
    return target / "run_defense.sh"


@pytest.fixture
def answers(call, tmp_path):
    """Image name -> label of a call of a defense."""

    def answers(entry_point, inputs, **more):
        result = call(entry_point, inputs, tmp_path / "result.csv", **more)
        assert (result.returncode, result.stderr) == (0, "")
        with (tmp_path / "result.csv").open(newline="") as file:
            return {name: int(label) for name, label in csv.reader(file)}

    return answers


def test_all_are_one_program():
    assert len(FOLDERS) == len(list(DEFENSES.iterdir())) - 1 >= 16
    for file in ("defense.py", "run_defense.sh"):
        assert len({(folder / file).read_bytes() for folder in FOLDERS}) == 1
    for folder in FOLDERS:
        names = {path.name for path in folder.iterdir()} - {"__pycache__"}
        assert names == {"config.yaml", "defense.py", "metadata.json", "run_defense.sh"}


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_settings_and_metadata_agree(folder):
    config = settings(folder)
    assert set(networks(folder)) <= set(NETWORKS)
    assert [make_transforms([*config.transforms, *own]) for own in config.vote]
    metadata = json.loads((folder / "metadata.json").read_text())
    trained_here = {path.stem for path in TRAINED.glob("*.safetensors")}
    needed = [name for name in networks(folder) if not name.startswith("efficientnet_lite")]
    assert metadata.get("weights", []) == [name for name in needed if name not in trained_here]


@pytest.mark.parametrize("folder", WITH_WEIGHTS, ids=name_of)
def test_a_defense_labels_photographs(answers, input_dir, photos, tmp_path, folder):
    found = answers(copy(folder, tmp_path / "code"), input_dir)
    assert found == {path.name: photos.true_labels[path.name] for path in list_images(input_dir)}


@pytest.mark.parametrize("folder", sorted(DEFENSES.glob("digits_*")), ids=name_of)
def test_a_defense_labels_digits(answers, tmp_path, folder):
    """At least 97 of 100; of all 1,000 that were held out each labels more than 98.5 % correctly."""
    data = load("digits")
    inputs = tmp_path / "digits"
    inputs.mkdir()
    for number, pixels in enumerate(data.dev_x[:100].repeat(3, axis=3)):
        write_image(inputs / f"{number:02d}.png", pixels)
    found = answers(copy(folder, tmp_path / "code"), inputs)
    right = [found[f"{number:02d}.png"] == label for number, label in enumerate(data.dev_y[:100])]
    assert sum(right) >= 97


def test_without_weights_one_line_says_how_to_get_them(call, input_dir, tmp_path):
    name = "ens_adv_inception_resnet_v2"
    result = call(copy(DEFENSES / name, tmp_path / "code"), input_dir, tmp_path / "result.csv")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {name}: ")
    assert str(tmp_path / "code/weights") in line
    assert line.endswith(f"harness weights fetch {name}")


def test_weights_beside_the_program_are_used(answers, input_dir, tmp_path):
    """Random weights that give label 7 whatever they see; background is the first of their 1001 classes."""
    entry_point = copy(DEFENSES / "ens3_adv_inception_v3", tmp_path / "code")
    torch.manual_seed(0)
    state = InceptionV3(classes=1001).state_dict()
    state["fc.weight"].zero_()
    state["fc.bias"].copy_(torch.arange(1001) == 7)
    (entry_point.parent / "weights").mkdir()
    save_file(state, entry_point.parent / "weights/ens3_adv_inception_v3.safetensors")
    assert set(answers(entry_point, input_dir).values()) == {7}


# --- a function of one image


@pytest.fixture
def many(photos, tmp_path):
    """Six photographs with noise on them, so that answers are less than certain."""
    folder = tmp_path / "many"
    folder.mkdir()
    generator = np.random.default_rng(0)
    paths = list_images(photos.folder)[:6]
    for path, pixels in zip(paths, read_images(paths), strict=True):
        write_image(folder / path.name, round_pixels(pixels + generator.normal(0, 60, pixels.shape)))
    return folder


def test_names_order_and_company_do_not_matter(answers, many, tmp_path):
    entry_point = copy(RANDOM, tmp_path / "code", passes=2)
    together = answers(entry_point, many)
    renamed, some = tmp_path / "renamed", tmp_path / "some"
    renamed.mkdir()
    some.mkdir()
    new_names = {path.name: f"{99 - index}.png" for index, path in enumerate(list_images(many))}
    for old, new in new_names.items():
        shutil.copyfile(many / old, renamed / new)
    assert answers(entry_point, renamed) == {new_names[name]: label for name, label in together.items()}
    few = sorted(together)[1::2]
    for name in few:
        shutil.copyfile(many / name, some / name)
    assert answers(entry_point, some) == {name: together[name] for name in few}


def test_the_seed_of_the_referee_matters(answers, many, tmp_path):
    entry_point = copy(RANDOM, tmp_path / "code", passes=1)
    assert (
        answers(entry_point, many, seed=1) == answers(entry_point, many, seed=1) != answers(entry_point, many, seed=2)
    )


def test_a_seed_that_is_no_number_is_one_line(call, input_dir, tmp_path):
    result = call(copy(RANDOM, tmp_path / "code"), input_dir, tmp_path / "result.csv", seed="x")
    assert (result.returncode, result.stderr) == (1, "error: HARNESS_SEED must be an integer from 0, not 'x'\n")
