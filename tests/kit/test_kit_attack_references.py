"""Our deterministic attacks make the pixels that torchattacks, cleverhans and foolbox make of the same images.

`tests/fixtures/attacks.npz` holds what the libraries made of the tiny network's images; `tests/oracles/attacks.py`
writes it anew, and compares on a real network too.
"""

from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import tiny_network, tiny_pixels

from advkit.images import list_images, read_images, write_image
from advkit.networks import NETWORKS
from advkit.perturb import perturb
from advkit.run import AttackJob

ROOT = Path(__file__).resolve().parents[2]
EPSILON = 16
with np.load(ROOT / "tests/fixtures/attacks.npz") as file:
    REFERENCES = {name: tiny_pixels(4).astype(int) + file[name] - EPSILON for name in file.files}
SETTINGS = {
    path.parent.name: yaml.safe_load(path.read_text()) for path in ROOT.glob("submissions/*attacks/*/config.yaml")
}
DRAWING = {"diversity", "variance", "admix", "spectrum"}
NO_KIND = {"surrogates", "steps", "relative_start_size", "relative_step_size"}
OTHERWISE = {"perlin_noise", "foolbox_adam_pgd"}  # no program of ours that climbs a gradient


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", tiny_network)
    folders = [tmp_path / name for name in ("code", "input", "output")]
    for folder in folders:
        folder.mkdir()
    for number, image in enumerate(tiny_pixels(4)):
        write_image(folders[1] / f"{number}.png", image)
    lines = [f"{number}.png,{number + 7}\n" for number in range(4)]
    (folders[1] / "target_class.csv").write_text("".join(lines))
    return AttackJob(*folders, EPSILON, seed=0)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_same_pixels_as_a_library_within_one_level(job, name):
    (job.folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS[name] | {"surrogates": ["tiny"]}))
    perturb(job)
    difference = np.abs(read_images(list_images(job.output_dir)) - REFERENCES[name])
    assert (difference <= 1).mean() >= 0.999


def kind(name):
    """Attacks on other networks, or in more or larger steps, run the same code."""
    return {key: value for key, value in SETTINGS[name].items() if key not in NO_KIND}


def test_every_attack_without_draws_has_a_reference_and_no_two_are_alike():
    methods = {name: {method["name"] for method in settings.get("methods", [])} for name, settings in SETTINGS.items()}
    compared = [kind(name) for name in REFERENCES]
    assert all(kind(name) in compared for name in methods.keys() - OTHERWISE if not methods[name] & DRAWING)
    for name, reference in REFERENCES.items():
        for other in REFERENCES.keys() - {name}:
            assert (np.abs(reference - REFERENCES[other]) > 1).mean() > 0.04
