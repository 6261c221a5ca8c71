"""A defense in another framework plays like any other: the contract is all that it shares with the kit.

Its image is built as an organiser's tournament builds it, which takes minutes where the engine has not built it before.
"""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from builders import play_file, read_board, write_tournament

ROOT = Path(__file__).resolve().parents[2]
SUBMISSIONS = ROOT / "submissions"
KERAS = SUBMISSIONS / "defenses/keras_efficientnet_lite0"


def test_its_packages_are_those_of_the_project():
    lines = (KERAS / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert {"tensorflow-cpu", "keras", "numpy", "pillow"} <= {pin.partition("==")[0] for pin in pins}
    assert set(pins) <= set((ROOT / "constraints.txt").read_text().splitlines())


def test_it_imports_nothing_of_the_kit():
    assert [path.name for path in KERAS.glob("*.py") if "advkit" in path.read_text()] == []


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_answers_as_the_same_network_in_pytorch(photos, tmp_path):
    shutil.copytree(photos.folder.parent, tmp_path / "dataset")
    players = ["attacks/random_noise", "defenses/efficientnet_lite0", "defenses/keras_efficientnet_lite0"]
    path = write_tournament(
        tmp_path / "keras.yaml",
        dataset={"path": "dataset", "limit": 3},
        submissions=[str(SUBMISSIONS / player) for player in players],
        images={"advkit:0.1.0": str(SUBMISSIONS / "kit"), "advkit-keras:0.1.0": str(KERAS)},
        sandbox="docker",
        gpu=False,
    )
    play_file(path)
    assert [defense["clean_accuracy"]["normalised"] for defense in read_board(tmp_path / "out")["defenses"]] == [1, 1]
    answers = pd.read_parquet(tmp_path / "out/predictions.parquet").set_index(["attack", "image", "defense"])["label"]
    table = answers.unstack("defense")
    assert len(table) == 6
    assert table["efficientnet_lite0"].tolist() == table["keras_efficientnet_lite0"].tolist()
