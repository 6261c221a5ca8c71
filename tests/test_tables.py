"""The files of a run are read by other people's scripts: the 2017 CSVs keep their names, headers and order to the cell,
and every answer stands in the Parquet tables once."""

import csv
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import make_audits, make_round, score_table, tables
from hypothesis import given
from hypothesis import strategies as st

from harness.leaderboard import build_leaderboard
from harness.publish import parquet
from harness.publish.markdown import markdown
from harness.publish.tables import classifications, write_results
from harness.records import Role
from harness.round import Unavailable
from harness.scoring import NO_ANSWER, UNKNOWN

FILES = {
    "accuracy_on_attacks.csv",
    "accuracy_on_targeted_attacks.csv",
    "all_classification.csv",
    "attack_images.parquet",
    "attack_ranking.csv",
    "defense_ranking.csv",
    "hit_target_class.csv",
    "leaderboard.json",
    "leaderboard.md",
    "predictions.parquet",
    "targeted_attack_ranking.csv",
}


def example():
    """An attack and a targeted one, two defenses, one budget, three images; one answer and one image are missing."""
    labels = [[[[1, 7, 9], [1, 2, 3]]], [[[8, 8, 8], [1, NO_ANSWER, 3]]]]
    return score_table(
        labels,
        valid=[[[True, True, False]], [[True, True, True]]],
        clean=[[1, 2, 9], [1, 2, 3]],
        true=[1, 2, 3],
        target=[7, 8, 9],
        untargeted=1,
    )


def write(folder, table, rules="nips17-dev", batch_size=None):
    round_, audits = make_round(table, batch_size), make_audits(table)
    board = build_leaderboard(round_, table, audits, rules)
    write_results(folder, round_, board, table, audits)
    return board


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, example())
    return tmp_path


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_the_files_have_their_names(folder):
    assert {path.name for path in folder.iterdir()} == FILES


def test_matrices_of_2017(folder):
    """Rows attacks, columns defenses, sorted by name, counts of images."""
    assert rows(folder / "accuracy_on_attacks.csv") == [["", "d0", "d1"], ["a0", "1", "2"]]
    assert rows(folder / "accuracy_on_targeted_attacks.csv") == [["", "d0", "d1"], ["a1", "0", "2"]]
    assert rows(folder / "hit_target_class.csv") == [["", "d0", "d1"], ["a1", "1", "0"]]


def test_rankings_of_2017(folder):
    assert rows(folder / "attack_ranking.csv") == [["AttackName", "Score"], ["a0", "3"]]
    assert rows(folder / "targeted_attack_ranking.csv") == [["AttackName", "Score"], ["a1", "1"]]
    assert rows(folder / "defense_ranking.csv") == [["DefenseName", "Score"], ["d1", "4"], ["d0", "1"]]


def test_every_classification_of_2017(folder):
    header = ["AttackName", "IsTargeted", "DefenseName", "ImageId", "PredictedLabel", "TrueLabel", "TargetClass"]
    assert rows(folder / "all_classification.csv") == [
        header,
        ["a0", "False", "d0", "i0", "1", "1", "7"],
        ["a0", "False", "d0", "i1", "7", "2", "8"],
        ["a0", "False", "d1", "i0", "1", "1", "7"],
        ["a0", "False", "d1", "i1", "2", "2", "8"],
        ["a1", "True", "d0", "i0", "8", "1", "7"],
        ["a1", "True", "d0", "i1", "8", "2", "8"],
        ["a1", "True", "d0", "i2", "8", "3", "9"],
        ["a1", "True", "d1", "i0", "1", "1", "7"],
        ["a1", "True", "d1", "i2", "3", "3", "9"],
    ]


@given(tables(labels=st.sampled_from([UNKNOWN, NO_ANSWER, 0, 1])))
def test_classifications_are_the_answers_on_images_that_were_taken(table):
    found = list(classifications(table))
    assert len(found) == np.count_nonzero((table.labels >= 0) & table.valid[:, :, None, :])
    assert len({row[:4] for row in found}) * len(table.epsilons) >= len(found)


def test_the_json_is_the_board_and_the_files_are_the_same_every_time(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        board = write(tmp_path / name, example())
    assert json.loads((tmp_path / "one" / "leaderboard.json").read_text()) == board
    for name in FILES - {"predictions.parquet", "attack_images.parquet"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_predictions_hold_every_answer_and_the_clean_ones(folder):
    table = pd.read_parquet(folder / "predictions.parquet")
    assert len(table) == 3 * 2 * 3
    assert set(table.attack) == {"clean", "a0", "a1"}
    one = table.set_index(["attack", "defense", "image"]).sort_index()
    clean = one.loc[("clean", "d0", "i2")]
    assert (clean.label, clean.epsilon, clean.valid, clean.digest) == (9, 0, True, "clean i2")
    assert pd.isna(one.loc[("a1", "d1", "i1")].label)
    lost = one.loc[("a0", "d0", "i2")]
    assert (lost.label, lost.valid, lost.targeted, lost.epsilon) == (9, False, False, 4)
    assert (lost.true_label, lost.target_class) == (3, 9)
    assert one.loc[("a1", "d0", "i0")].targeted


def test_attack_images_hold_every_audit(folder):
    table = pd.read_parquet(folder / "attack_images.parquet")
    audits = make_audits(example())
    assert table.image.tolist() == ["i0", "i1", "i2"] * 2
    assert table.fault.tolist() == ["", "", "missing", "", "", ""]
    assert table.digest.tolist() == [f"image {number}" for number in range(6)]
    for column, values in audits.measures.items():
        assert table[column].tolist() == values.ravel().tolist()


@pytest.mark.parametrize("attacks", [0, 2])
@pytest.mark.parametrize("defenses", [0, 2])
def test_rounds_without_attacks_or_without_defenses_are_written_too(tmp_path, attacks, defenses):
    write(tmp_path, score_table(np.ones((attacks, 1, defenses, 3))))
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert len(pd.read_parquet(tmp_path / "predictions.parquet")) == (attacks + 1) * defenses * 3
    assert len(pd.read_parquet(tmp_path / "attack_images.parquet")) == attacks * 3
    assert len(rows(tmp_path / "accuracy_on_attacks.csv")) == attacks + 1


def test_budgets_stand_beside_the_answers_whatever_the_batch(tmp_path):
    write(tmp_path, score_table(np.ones((1, 2, 1, 5))), batch_size=2)
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert table[table.attack == "a0"].epsilon.tolist() == [4] * 5 + [5] * 5


@pytest.mark.parametrize("part", [1, 7, 20, 61])
def test_parts_of_any_size_hold_the_same_rows(tmp_path, monkeypatch, part):
    generator = np.random.default_rng(part)
    table = score_table(generator.integers(-2, 4, (3, 2, 4, 5)), valid=generator.random((3, 2, 5)) < 0.8, untargeted=2)
    write(tmp_path / "whole", table, batch_size=2)
    monkeypatch.setattr(parquet, "PART", part)
    write(tmp_path / "parts", table, batch_size=2)
    for name in ("predictions.parquet", "attack_images.parquet"):
        whole, parts = (pd.read_parquet(tmp_path / folder / name) for folder in ("whole", "parts"))
        assert whole.equals(parts)


# --- the page


def page(table, rules="fair"):
    return markdown(build_leaderboard(make_round(table), table, make_audits(table), rules))


def test_the_page_names_rules_policy_and_everybody():
    text = page(example())
    assert text.startswith("# tiny\n")
    words = ("rules fair", "is replaced by the clean image", "95%", "## Defenses", "## Attacks", "## Targeted attacks")
    for word in words:
        assert word in text
    for name in ("a0", "a1", "d0", "d1"):
        assert f"| {name} |" in text
    assert "Incomplete" not in text


def test_an_incomplete_round_says_so():
    table = example()
    table.labels[0, 0, 0, 0] = UNKNOWN
    assert "**Incomplete:** 1 answers are not known yet." in page(table)


def test_the_csvs_of_an_incomplete_round_say_so(tmp_path):
    table = example()
    table.labels[0, 0, 0, 0] = UNKNOWN
    write(tmp_path, table)
    heads = {path.stem: path.read_text().splitlines()[0] for path in tmp_path.glob("*.csv")}
    assert heads["accuracy_on_attacks"] == "incomplete,d0,d1"
    assert heads["defense_ranking"] == "DefenseName,Score incomplete"


def test_every_row_of_a_table_has_as_many_cells_as_its_header():
    blocks = [block.splitlines() for block in page(example()).split("\n\n") if block.startswith("|")]
    assert len(blocks) == 3
    for lines in blocks:
        assert len({line.count("|") for line in lines}) == 1


HOSTILE = {
    "<script>alert(1)</script>": "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<img src=x onerror=alert(1)>": "&lt;img src=x onerror=alert(1)&gt;",
    "&lt;b&gt;": "&amp;lt;b&amp;gt;",
    "[x](javascript:alert(1))": "\\[x\\](javascript:alert(1))",
    "![x](http://evil)": "!\\[x\\](http://evil)",
    "a | b": "a \\| b",
    "a `b` *c* _d_ ~e~ f_g": "a \\`b\\` \\*c\\* \\_d\\_ \\~e\\~ f_g",
    "end\\": "end\\\\",
    "www.evil.example": "www\\.evil.example",
    "a\nb\x1b[2Jc\u202ed": "a\ufffdb\ufffd\\[2Jc\ufffdd",
}


@pytest.mark.parametrize(("name", "shown"), HOSTILE.items())
def test_no_name_is_html_or_markdown_on_the_page(name, shown):
    """Names are judged where they come in; should one get by, the page still shows it as it is."""
    table = replace(example(), attacks=(name, "a1"))
    left_out = (Unavailable(name, Role.DEFENSE, name, "harness weights fetch w"),)
    board = build_leaderboard(replace(make_round(table), unavailable=left_out), table, make_audits(table), "fair")
    text = markdown(board | {"tournament": name})
    assert text.startswith(f"# {shown}\n")
    assert f"| {shown} |" in text
    assert f"| defense | {shown} | {shown} |" in text
    for lines in (block.splitlines() for block in text.split("\n\n") if block.startswith("|")):
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_sections_of_nobody_are_left_out():
    text = page(score_table(np.ones((1, 1, 1, 2))))
    assert "## Targeted attacks" not in text
    assert "Unavailable" not in text


def test_the_page_ends_with_who_is_unavailable_and_what_would_help():
    table = example()
    left_out = (
        Unavailable("x", Role.ATTACK, "its weights w are gone", "harness weights fetch w"),
        Unavailable("y", Role.DEFENSE, "it needs an engine", "--sandbox docker"),
    )
    board = build_leaderboard(replace(make_round(table), unavailable=left_out), table, make_audits(table), "fair")
    assert markdown(board).endswith(
        "## Unavailable\n\n| type | name | reason | remedy |\n| --- | --- | --- | --- |\n"
        "| attack | x | its weights w are gone | `harness weights fetch w` |\n"
        "| defense | y | it needs an engine | `--sandbox docker` |\n"
    )
