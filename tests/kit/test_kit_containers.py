"""A folder copied out of the project plays in the container that its metadata.json names: no network, a read-only root,
nobody's user, and nothing of the project beside it.

Each way of writing a submission is tried once; the folders differ in their config.yaml alone beyond that.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from advkit.images import list_images
from advkit.labels import read_labels

SUBMISSIONS = Path(__file__).resolve().parents[2] / "submissions"
CONTAINED = ["--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--user=65534:65534", "--workdir=/code"]
OWN_IMAGES = {"advkit-foolbox:0.1.0": "attacks/foolbox_adam_pgd"}
"""Those that are not the kit's; the kit's is there where the tests run with an engine (make kit-image)."""

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_engine")]


def build(image):
    network = os.environ.get("HARNESS_BUILD_NETWORK", "default")
    arguments = [f"--build-arg={name}" for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if name in os.environ]
    folder = SUBMISSIONS / OWN_IMAGES[image]
    command = ["docker", "build", "--quiet", f"--network={network}", *arguments, f"--tag={image}", folder]
    subprocess.run(command, check=True, capture_output=True, timeout=280)


@pytest.fixture
def play(tmp_path, input_dir):
    """Call a copy of a submission's folder; gives the folder that it wrote to."""

    def play(name):
        code, output = tmp_path / "elsewhere" / Path(name).name, tmp_path / "output"
        shutil.copytree(SUBMISSIONS / name, code, ignore=shutil.ignore_patterns("__pycache__"))
        output.mkdir()
        output.chmod(0o777)
        about = json.loads((code / "metadata.json").read_text())
        if about["container"] in OWN_IMAGES:
            build(about["container"])
        mounts = [f"--volume={code}:/code:ro", f"--volume={input_dir}:/input_images:ro", f"--volume={output}:/output"]
        result = ["/output/result.csv"] if about["type"] == "defense" else ["/output", "16"]
        command = [f"./{about['entry_point']}", "/input_images", *result]
        ended = subprocess.run(
            ["docker", "run", "--rm", *CONTAINED, *mounts, about["container"], *command],
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stderr) == (0, "")
        return output

    return play


@pytest.mark.parametrize(
    "name",
    [
        "attacks/fgsm",
        "attacks/perlin_noise",
        "attacks/di_fgsm",
        "attacks/foolbox_adam_pgd",
        "targeted_attacks/iter_target_class",
    ],
)
def test_an_attack_plays_on_its_own(play, input_dir, name):
    written = play(name)
    assert [path.name for path in list_images(written)] == [path.name for path in list_images(input_dir)]


@pytest.mark.parametrize("name", ["defenses/efficientnet_lite0", "defenses/efficientnet_lite1_squeeze_vote"])
def test_a_defense_plays_on_its_own(play, input_dir, photos, name):
    answers = read_labels(play(name) / "result.csv")
    assert answers == {path.name: photos.true_labels[path.name] for path in list_images(input_dir)}
