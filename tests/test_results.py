"""The page of results counts as the board does: a wrong answer is a point, no answer is none, a target is a hit."""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT

DEFENSES = ("efficientnet_lite0", "other")
IMAGES = tuple(f"image{number}" for number in range(4))


@pytest.fixture(scope="module")
def results():
    spec = importlib.util.spec_from_file_location("results", ROOT / "docs" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(attack, labels, targeted=False):
    """labels: for each defense one answer an image; true labels are 1, targets 2, None is no answer."""
    return [
        {"attack": attack, "targeted": targeted, "defense": defense, "image": image, "label": label,
         "true_label": 1, "target_class": 2}
        for defense, answers in zip(DEFENSES, labels, strict=True)
        for image, label in zip(IMAGES, answers, strict=True)
    ]  # fmt: skip


@pytest.fixture
def run(tmp_path):
    table = rows("clean", [(1, 1, 1, 1), (1, 1, 3, None)])
    for name in ("ifgsm", "mi_fgsm", "di_fgsm", "si_di_ti_mi", "noop"):
        table += rows(name, [(3, 3, 3, 3), (3, 1, None, 2)])
    table += rows("target", [(2, 2, 1, 3), (2, 1, None, 3)], targeted=True)
    frame = pd.DataFrame(table)
    frame["label"] = frame["label"].astype("Int32")
    frame.to_parquet(tmp_path / "predictions.parquet")
    board = {"complete": True, "missing_answers": 0, "dataset": {"images": 4}}
    (tmp_path / "leaderboard.json").write_text(json.dumps(board))
    return tmp_path


def test_points_are_those_of_the_rules(results, run):
    games = results.read_games(run)
    assert games.defenses == DEFENSES
    assert games.targeted == {"target"}
    assert games.correct.tolist() == [[True] * 4, [True, True, False, False]]
    assert games.wins["ifgsm"].tolist() == [[True] * 4, [True, False, False, True]]
    assert games.wins["target"].tolist() == [[True, True, False, False], [True, False, False, False]]
    assert results.black_box_rate(games, "ifgsm").tolist() == [1, 0, 0, 1]


def test_the_page_says_what_it_does_not_hold(results, run):
    page = results.page(run, results.read_games(run))
    assert "| ifgsm | 100 | 50 | 50.0 (0.0 to 100.0) | 50.0 |" in page
    assert "| mi_fgsm | ifgsm | +0.0 (+0.0 to +0.0) |" in page
    assert "vmi_fgsm" in page.split("**Not measured yet:**")[1].splitlines()[0]


def test_an_unfinished_run_is_refused(results, run):
    (run / "leaderboard.json").write_text(json.dumps({"complete": False, "missing_answers": 7}))
    with pytest.raises(SystemExit, match="7 answers are not known yet"):
        results.page(run, results.read_games(run))


def test_the_picture_is_drawn(results, run, tmp_path):
    results.draw(results.read_games(run), tmp_path / "map.svg")
    assert "si_di_ti_mi" in (tmp_path / "map.svg").read_text()


def test_an_interval_holds_its_mean(results):
    points = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    low, high = results.interval(points)
    assert 0 <= low < points.mean() < high <= 1
