"""The leaderboard is what is published and argued about: plain JSON without a NaN, the same bytes for the same answers,
and an incomplete round says that it is one."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import ROOT, make_audits, make_round, score_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.leaderboard import SCHEMA_VERSION, build_leaderboard
from harness.records import Role
from harness.round import Unavailable
from harness.scoring import NO_ANSWER, POLICIES, UNKNOWN

RULES = sorted(POLICIES)
ROLES = ("defenses", "attacks", "targeted_attacks")


def build(table, rules="fair", *, batch_size=None, audits=None):
    return build_leaderboard(make_round(table, batch_size), table, audits or make_audits(table), rules)


def example():
    """Two attacks and a targeted one, three defenses, two budgets, four images, all answers there."""
    generator = np.random.default_rng(1)
    labels = generator.integers(1, 4, (3, 2, 3, 4))
    clean = generator.integers(1, 3, (3, 4))
    return score_table(labels, clean=clean, true=[1, 1, 2, 2], target=[3, 3, 3, 3], untargeted=2)


@given(tables(labels=st.sampled_from([UNKNOWN, NO_ANSWER, 1, 2])), st.sampled_from(RULES))
def test_any_round_gives_plain_json(table, rules):
    board = build(table, rules)
    text = json.dumps(board, allow_nan=False)
    assert json.loads(text) == board
    assert board["complete"] is (table.holes == 0)
    assert board["missing_answers"] == table.holes
    assert not re.search(r"-0\.0[,\]}]", text)


def test_a_strength_of_nothing_has_no_sign():
    """One attack that fools one defense on half of the images."""
    game = build(score_table([[[[1, 2]]]]))["game"]
    assert json.dumps([game["attack_strengths"], game["defense_strengths"]]) == '[{"a0": 0.0}, {"d0": 0.0}]'


def test_who_has_one_opponent_has_no_rank_without_it():
    board = build(score_table([[[[1, 1, 1], [1, 2, 1]]]]))
    assert [row["rank"] for row in board["defenses"]] == [1, 2]
    assert [row["rank_without_one_opponent"] for row in board["defenses"]] == [None, None]
    assert board["attacks"][0]["rank_without_one_opponent"] == [1, 1]


def test_an_answer_that_is_not_known_yet_leaves_no_image_undefended():
    board = build(score_table([[[[UNKNOWN, 2, 1]]], [[[UNKNOWN, UNKNOWN, 1]]]]))
    assert board["images"]["undefended"] == ["i1"]


@given(tables(labels=st.sampled_from([UNKNOWN, NO_ANSWER, 1])))
def test_holes_have_names(table):
    """What is not known yet, by attack and defense; None stands for the clean images."""
    expected = {(None, name): (row == UNKNOWN).sum() for name, row in zip(table.defenses, table.clean, strict=True)}
    for attack, defense in np.ndindex(len(table.attacks), len(table.defenses)):
        unknown = (table.labels[attack, :, defense] == UNKNOWN).sum()
        expected[table.attacks[attack], table.defenses[defense]] = unknown
    found = {(hole["attack"], hole["defense"]): hole["missing_answers"] for hole in build(table)["holes"]}
    assert found == {pair: count for pair, count in expected.items() if count}


@given(tables(), st.sampled_from(RULES))
def test_scores_are_shares_and_sorted_by_rank_and_name(table, rules):
    board = build(table, rules)
    for kind, count in (
        ("defenses", len(table.defenses)),
        ("attacks", table.untargeted),
        ("targeted_attacks", len(table.attacks) - table.untargeted),
    ):
        rows = board[kind]
        assert len(rows) == count
        assert [(row["rank"], row["name"]) for row in rows] == sorted((row["rank"], row["name"]) for row in rows)
        for row in rows:
            low, high = row["interval"]
            assert 0 <= low <= high <= 1
            assert 0 <= row["normalised"] <= 1
            assert row["rank"] == 1 + sum(other["score"] > row["score"] for other in rows)


def test_the_same_answers_give_the_same_bytes():
    first, second = (json.dumps(build(example(), audits=make_audits(example(), 3))) for _ in range(2))
    assert first == second


def test_what_a_board_says_about_itself():
    board = build(example(), "nips17-dev")
    assert board["schema_version"] == SCHEMA_VERSION
    assert (board["tournament"], board["rules"], board["seed"]) == ("tiny", "nips17-dev", 1)
    assert board["missing_output_policy"] == POLICIES["nips17-dev"]
    assert board["epsilons"] == ["4", "5"]
    assert board["dataset"]["images"] == 4
    assert (board["intervals"]["confidence"], board["intervals"]["draws"], board["tiers"]["alpha"]) == (
        0.95,
        1000,
        0.05,
    )


def test_who_is_unavailable_is_listed_and_changes_nothing_else():
    table = example()
    board = build(table)
    assert board["unavailable"] == []
    left_out = Unavailable("best", Role.DEFENSE, "its weights w are gone", "harness weights fetch w")
    round_ = replace(make_round(table), unavailable=(left_out,))
    listed = json.loads(json.dumps(build_leaderboard(round_, table, make_audits(table), "fair")))
    row = {
        "name": "best", "type": "defense", "reason": "its weights w are gone", "remedy": "harness weights fetch w",
    }  # fmt: skip
    assert listed == board | {"unavailable": [row]}


def test_a_defenses_row():
    table = example()
    rows = {row["name"]: row for row in build(table)["defenses"]}
    correct = table.labels == table.true_labels
    for number, name in enumerate(table.defenses):
        row = rows[name]
        shares = correct[:, :, number, :].mean(axis=(1, 2))
        assert row["submission"] == f"submission of {name}"
        assert row["score"] == correct[:, :, number, :].sum()
        assert row["normalised"] == pytest.approx(correct[:, :, number, :].mean(), abs=1e-6)
        assert row["clean_accuracy"]["normalised"] == (table.clean[number] == table.true_labels).mean()
        assert {key: share["normalised"] for key, share in row["per_epsilon"].items()} == {
            "4": pytest.approx(correct[:, 0, number, :].mean(), abs=1e-6),
            "5": pytest.approx(correct[:, 1, number, :].mean(), abs=1e-6),
        }
        assert row["worst_case"]["normalised"] == pytest.approx(shares.min(), abs=1e-6)
        assert row["worst_case"]["opponent"] == table.attacks[shares.argmin()]


def test_an_attacks_row():
    table, audits = example(), make_audits(example())
    rows = {row["name"]: row for row in build(table, audits=audits)["attacks"]}
    wrong = table.labels != table.true_labels
    clean_correct = np.broadcast_to(table.clean == table.true_labels, wrong[0].shape)
    for number, name in enumerate(table.attacks[:2]):
        row = rows[name]
        shares = wrong[number].mean(axis=(0, 2))
        assert row["score"] == wrong[number].sum()
        assert row["success_where_clean_correct"]["normalised"] == pytest.approx(
            wrong[number][clean_correct].mean(), abs=1e-6
        )
        assert row["worst_case"]["opponent"] == table.defenses[shares.argmin()]
        assert row["worst_case"]["normalised"] == pytest.approx(shares.min(), abs=1e-6)
        assert row["perturbation"]["max_raw_linf"] == audits.measures["raw_linf"][number].max()
        assert row["perturbation"]["clipped_values"] == audits.measures["clipped"][number].sum()
        assert row["perturbation"]["mean_l2"] == pytest.approx(audits.measures["l2"][number].mean(), abs=1e-6)
        assert row["faults"] == {}


def test_a_targeted_attack_is_paid_for_hits():
    table = example()
    (row,) = build(table)["targeted_attacks"]
    assert row["score"] == (table.labels[2] == 3).sum()


def test_missing_images_and_labels_are_told():
    table = example()
    table.valid[0, 0, :2] = False
    table.labels[1, 0, 0, 0] = NO_ANSWER
    board = build(table)
    attacks = {row["name"]: row for row in board["attacks"]}
    assert attacks["a0"]["faults"] == {"missing": 2}
    assert {row["name"]: row["missing_labels"] for row in board["defenses"]} == {"d0": 1, "d1": 0, "d2": 0}


def test_an_attack_that_made_no_image_has_no_perturbation():
    table = example()
    table.valid[0] = False
    attacks = {row["name"]: row for row in build(table)["attacks"]}
    assert attacks["a0"]["perturbation"] == {}
    assert attacks["a1"]["perturbation"]


def test_without_a_correct_answer_on_clean_images_there_is_no_share_of_them():
    table = replace(example(), clean=np.zeros((3, 4), dtype=np.int32))
    assert [row["success_where_clean_correct"] for row in build(table)["attacks"]] == [None, None]


def test_matrices_are_counts_as_in_the_toolkits_files():
    table = example()
    found = build(table)["matrices"]
    correct = (table.labels == table.true_labels).sum(axis=(1, 3))
    assert (found["attacks"], found["targeted_attacks"], found["defenses"]) == (
        ["a0", "a1"],
        ["a2"],
        ["d0", "d1", "d2"],
    )
    assert found["accuracy_on_attacks"] == correct[:2].tolist()
    assert found["accuracy_on_targeted_attacks"] == correct[2:].tolist()
    assert found["hit_target_class"] == (table.labels[2:] == 3).sum(axis=(1, 3)).tolist()


def test_under_rotate_the_shares_are_those_of_each_budget():
    labels = np.array([[[[1, 9, 9, 1, 1, 9]]]])
    table = score_table(labels, true=[1] * 6)
    round_ = replace(make_round(table, 2), epsilons=("rotate",), budgets=((4, 8, 4),))
    board = build_leaderboard(round_, table, make_audits(table), "fair")
    for (row,) in (board["defenses"], board["attacks"]):
        assert {key: share["normalised"] for key, share in row["per_epsilon"].items()} == {"4": 0.5, "8": 0.5}


def test_submissions_with_the_same_answers_tie_and_share_their_interval():
    labels = np.repeat(np.random.default_rng(0).integers(1, 3, (1, 1, 1, 30)), 3, axis=2)
    rows = build(score_table(labels))["defenses"]
    assert [row["rank"] for row in rows] == [1, 1, 1]
    assert [row["name"] for row in rows] == ["d0", "d1", "d2"]
    assert rows[0]["interval"] == rows[1]["interval"] == rows[2]["interval"]


def estimates(value):
    """Every estimate of a board, wherever it stands."""
    if isinstance(value, dict):
        if "interval" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from estimates(one)


@settings(max_examples=25)
@given(tables(), st.sampled_from(RULES))
def test_every_value_lies_in_its_interval_and_no_interval_is_without_width(table, rules):
    for estimate in estimates(build(table, rules)):
        low, high = estimate["interval"]
        assert 0 <= low <= estimate["normalised"] <= high <= 1
        assert low < high


@settings(max_examples=25)
@given(tables(), st.sampled_from(RULES))
def test_ranks_tiers_and_rank_intervals_agree(table, rules):
    board = build(table, rules)
    for rows in (board["defenses"], board["attacks"], board["targeted_attacks"]):
        tiers = [row["tier"] for row in rows]
        assert tiers == sorted(tiers)
        assert set(tiers) == set(range(1, len(set(tiers)) + 1))
        for number, row in enumerate(rows):
            first, last = row["rank_interval"]
            assert 1 <= first <= row["rank"] <= last <= len(rows)
            if number + 1 == len(rows) or rows[number + 1]["score"] == row["score"]:
                assert row["images_to_next"] is None
            if row["rank_without_one_opponent"] is not None:
                best, worst = row["rank_without_one_opponent"]
                assert 1 <= best <= worst <= len(rows)


def test_one_submission_of_each_role_and_one_image():
    board = build(score_table([[[[1]]]]))
    (row,) = board["defenses"]
    assert (row["rank"], row["tier"], row["rank_interval"], row["score"], row["normalised"]) == (1, 1, [1, 1], 1, 1)
    assert (row["images_to_next"], row["rank_without_one_opponent"]) == (None, None)
    assert row["interval"][1] == 1
    assert row["interval"][0] < 0.2
    assert row["worst_case"]["interval"][0] < 0.2
    (row,) = board["attacks"]
    assert (row["score"], row["interval"][0]) == (0, 0)
    assert row["interval"][1] > 0.8


@pytest.mark.parametrize("shape", [(0, 1, 2, 3), (2, 1, 0, 3)])
def test_who_met_nobody_has_no_share_of_anything(shape):
    board = build(score_table(np.ones(shape), clean=np.ones((shape[2], 3))))
    rows = board["defenses"] + board["attacks"]
    assert len(rows) == 2
    for row in rows:
        assert (row["score"], row["normalised"], row["interval"]) == (0, 0, [0, 1])
        assert (row["worst_case"], row["every_opponent"], row["per_epsilon"]) == (None, None, {})
        assert row["rank_without_one_opponent"] is None
    assert board["game"] is None


def test_under_rotate_with_several_positions_each_budget_counts_its_own_answers():
    labels = np.random.default_rng(3).integers(1, 3, (3, 2, 2, 6))
    table = score_table(labels, true=[1] * 6)
    budgets = ((4, 8, 12), (8, 16, 4))
    round_ = replace(make_round(table, 2), epsilons=("a", "b"), budgets=budgets)
    rows = build_leaderboard(round_, table, make_audits(table), "fair")["defenses"]
    each = np.repeat(np.array(budgets), 2, axis=1)
    for row in rows:
        correct = labels[:, :, table.defenses.index(row["name"])] == 1
        assert {key: share["normalised"] for key, share in row["per_epsilon"].items()} == {
            str(budget): pytest.approx(correct[:, each == budget].mean(), abs=1e-6) for budget in (4, 8, 12, 16)
        }


def test_the_share_of_images_that_are_won_against_everybody():
    table = example()
    for row in build(table)["defenses"]:
        correct = (table.labels == table.true_labels)[:, :, table.defenses.index(row["name"])]
        assert row["every_opponent"]["normalised"] == correct.all(axis=(0, 1)).mean()


def test_under_the_evaluation_s_rules_an_attack_without_all_its_images_is_nobody_s_opponent():
    table = example()
    table.valid[0, 0, 0] = False
    for row in build(table, "nips17-final")["defenses"]:
        correct = (table.labels[1:, :, table.defenses.index(row["name"])] == table.true_labels).mean()
        assert row["normalised"] == pytest.approx(correct, abs=1e-6)
        assert row["worst_case"]["opponent"] in ("a1", "a2")


def test_every_key_is_explained():
    """In the section of docs/formats.md; each in a cell of its own or of its parent."""
    text = (ROOT / "docs" / "formats.md").read_text().split("### leaderboard.json")[1].split("\n## ")[0]
    explained = set(re.findall(r"`([a-z0-9_]+)`", text))
    table = example()
    table.valid[0, 0, 0] = False
    table.labels[0, 0, 0, 0] = UNKNOWN
    left_out = Unavailable("best", Role.DEFENSE, "reason", "remedy")
    board = build_leaderboard(replace(make_round(table), unavailable=(left_out,)), table, make_audits(table), "fair")
    game, rows = board.pop("game"), [row for kind in ROLES for row in board[kind]]
    keys = {
        *board,
        *game,
        *board["images"],
        *board["matrices"],
        *board["dataset"],
        *board["intervals"],
        *board["tiers"],
    }
    lists = (*rows, *board["holes"], *board["unavailable"], *board["images"]["label_suspects"])
    keys |= {key for row in lists for key in row}
    keys |= {key for row in rows for key in row.get("perturbation", {})}
    assert keys <= explained
