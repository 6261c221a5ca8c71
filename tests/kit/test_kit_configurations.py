"""Each config.yaml of an attack is valid, and the program makes of it what its metadata.json promises.

Copied out of the project, the folder runs in this process, where torch is loaded already; test_kit_submissions.py
calls the entry point of one folder of each program.
"""

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from advkit.attacks import LOSSES
from advkit.config import read_config
from advkit.images import list_images, read_images
from advkit.labels import IMAGENET
from advkit.methods import Setting, make_methods
from advkit.networks import NETWORKS, TRAINED, load_network, predict
from advkit.perturb import OBJECTIVES, STARTS, Config
from advkit.tensors import to_tensor

SUBMISSIONS = Path(__file__).resolve().parents[2] / "submissions"
WITH_SURROGATES = sorted(
    path.parent for path in SUBMISSIONS.glob("*attacks/*/config.yaml") if "surrogates" in path.read_text()
)
OF_PERTURB = [folder for folder in WITH_SURROGATES if "advkit.perturb" in (folder / "attack.py").read_text()]
COME_WITH_THE_KIT = {name for name in NETWORKS if name.startswith("efficientnet_lite")}
COME_WITH_THE_KIT |= {path.stem for path in TRAINED.glob("*.safetensors")}
EPSILON = 16
# What an attack must reach on its own surrogate: of the adversarial label, the true one and the target.
AIMS = {
    "ifgsm": lambda found, true, target: found != true,
    "iter_target_class": lambda found, true, target: found == target,
    "mi_logit": lambda found, true, target: found == target,
    "di_ti_mi": lambda found, true, target: found == target,
}


def name_of(folder):
    return folder.name


def metadata_of(folder):
    return json.loads((folder / "metadata.json").read_text())


def settings_of(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


NEED_WEIGHTS = [folder for folder in OF_PERTURB if not COME_WITH_THE_KIT.issuperset(settings_of(folder)["surrogates"])]
RUNNABLE = [folder for folder in OF_PERTURB if folder not in NEED_WEIGHTS]


def shortened(folder):
    """The settings with few steps and copies, for time's sake; as they are where an aim is to be reached."""
    settings = settings_of(folder)
    if folder.name in AIMS:
        return settings
    if settings.get("steps", 1) > 2:
        settings |= {"steps": 2, "relative_step_size": 0.5}
    for method in settings.get("methods", []):
        method.update(dict.fromkeys(method.keys() & {"copies", "samples"}, 2))
    return settings


@pytest.fixture
def attack(input_dir, tmp_path, monkeypatch):
    """Run the program of a copy of a folder on one photograph; gives the folder of what it made."""
    for path in list_images(input_dir)[1:]:
        path.unlink()

    def attack(folder, settings):
        code, output_dir = tmp_path / "code", tmp_path / "output"
        shutil.copytree(folder, code, ignore=shutil.ignore_patterns("__pycache__"))
        (code / "config.yaml").write_text(yaml.safe_dump(settings))
        output_dir.mkdir()
        script = str(code / "attack.py")
        monkeypatch.setattr(sys, "argv", [script, str(input_dir), str(output_dir), str(EPSILON)])
        monkeypatch.setenv("HARNESS_SEED", "0")
        runpy.run_path(script, run_name="__main__")
        return output_dir

    return attack


@pytest.mark.parametrize("folder", WITH_SURROGATES, ids=name_of)
def test_the_surrogates_exist_and_metadata_names_the_weights_that_they_need(folder):
    surrogates = settings_of(folder)["surrogates"]
    assert NETWORKS.keys() >= set(surrogates)
    assert metadata_of(folder).get("weights", []) == [name for name in surrogates if name not in COME_WITH_THE_KIT]


@pytest.mark.parametrize("folder", OF_PERTURB, ids=name_of)
def test_a_configuration_is_valid_and_can_reach_the_border_of_the_ball(folder):
    config = read_config(folder / "config.yaml", Config)
    assert config.objective in OBJECTIVES
    assert config.loss in LOSSES
    assert config.start in STARTS
    assert (config.objective == "towards_target") == (metadata_of(folder)["type"] == "targeted_attack")
    start = config.relative_start_size if config.start != "clean" else 0
    assert start + config.steps * config.relative_step_size >= 1
    x = torch.full((1, 3, 20, 20), 0.5)
    setting, gradient = Setting(x, EPSILON, 1.6, [np.random.default_rng(0)], lambda: x), torch.ones_like
    for method in make_methods(config.methods):
        gradient = method(gradient, setting)
    assert gradient(x).shape == x.shape


def test_momentum_is_the_outermost_method_and_comes_once():
    for folder in OF_PERTURB:
        names = [method["name"] for method in settings_of(folder).get("methods", [])]
        assert "momentum" not in names[:-1]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("folder", RUNNABLE, ids=name_of)
def test_every_image_is_written_inside_the_ball(attack, input_dir, photos, folder):
    output_dir = attack(folder, shortened(folder))
    (clean,) = list_images(input_dir)
    assert [path.name for path in output_dir.iterdir()] == [clean.name]
    pixels = read_images(list_images(output_dir))
    assert np.abs(pixels.astype(int) - read_images([clean])).max() == EPSILON
    if folder.name in AIMS:
        (index,) = predict(load_network(*settings_of(folder)["surrogates"]), to_tensor(pixels)).tolist()
        assert AIMS[folder.name](
            IMAGENET.label_of(index), photos.true_labels[clean.name], photos.target_labels[clean.name]
        )


def test_every_aim_belongs_to_a_folder():
    assert {folder.name for folder in RUNNABLE} >= AIMS.keys()


@pytest.mark.parametrize("folder", NEED_WEIGHTS, ids=name_of)
def test_absent_weights_are_one_line_that_says_how_to_get_them(attack, tmp_path, monkeypatch, capsys, folder):
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path / "weights"))
    with pytest.raises(SystemExit) as caught:
        attack(folder, settings_of(folder))
    name = metadata_of(folder)["weights"][0]
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 1
    assert line.startswith(f"error: {name}: no {name}.safetensors in {tmp_path}")
    assert line.endswith(f"get it with: harness weights fetch {name}")
