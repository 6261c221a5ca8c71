"""The report says what the ledger, the answers and the board say: rows are counted again by hand or from the board."""

import json
from dataclasses import replace
from functools import cache

import jsonschema
import numpy as np
import pytest
from helpers import ROOT, make_audits, make_round, open_field, score_table, tables, write_dataset, write_players
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.assembly import assemble, read_audits
from harness.index import CallRecord
from harness.leaderboard import build_leaderboard
from harness.publish.evidence import Evidence
from harness.publish.report import build_report
from harness.publish.similarity import Similarity, measure_similarity
from harness.records import Role, Verdict
from harness.scoring import POLICIES, UNKNOWN

SIDES = ("attacks", "targeted_attacks", "defenses")


def call(player, role=Role.DEFENSE, key="k", seconds=1.0, images=10, verdict=Verdict.OK, memory=100):
    return CallRecord(key, role, player, "", verdict, 0, seconds, memory, images, {}, 0, "", "")


def make_evidence(table, ledger=(), provenance=None, similarity=None, **round_keys):
    round_ = replace(make_round(table), **round_keys)
    return Evidence(round_, table, make_audits(table), tuple(ledger), provenance or {}, similarity)


def random_table(seed=0, attacks=5, targeted=2, defenses=3, images=20):
    generator = np.random.default_rng(seed)
    return score_table(
        generator.integers(1, 4, (attacks, 2, defenses, images)),
        clean=generator.integers(1, 3, (defenses, images)),
        true=generator.integers(1, 3, images),
        target=np.full(images, 3),
        untargeted=attacks - targeted,
    )


@cache
def schema():
    return json.loads((ROOT / "harness/publish/report.schema.json").read_text())


def board_of(evidence):
    return build_leaderboard(evidence.round, evidence.table, evidence.audits, evidence.round.rules)


# --- as a whole


@given(tables(labels=st.sampled_from([UNKNOWN, -1, 1, 2, 3])), st.sampled_from(sorted(POLICIES)))
def test_any_table_has_a_report_that_keeps_to_its_schema(table, rules):
    evidence = make_evidence(table, rules=rules)
    text = json.dumps(build_report(evidence), allow_nan=False)
    jsonschema.validate(json.loads(text), schema())
    assert text == json.dumps(build_report(evidence))


@pytest.mark.parametrize("rules", sorted(POLICIES))
def test_what_the_board_says_too_is_the_same_there(rules):
    evidence = make_evidence(random_table(), rules=rules)
    report, board = build_report(evidence), board_of(evidence)
    scores = {(row["type"], row["name"]): row["score"] for row in report["costs"]}
    for side, role in zip(SIDES, ("attack", "targeted_attack", "defense"), strict=True):
        curves = {row["name"]: row for row in report["curves"][side]}
        ranked = {row["name"]: row for row in report["stability"][side]}
        assert board[side]
        for row in board[side]:
            assert scores[role, row["name"]] == row["normalised"]
            if row["worst_case"] is None:
                assert curves == ranked == {}
                continue
            assert curves[row["name"]]["mean"][1:] == list(row["per_epsilon"].values())
            assert ranked[row["name"]]["rank"] == row["rank"]
            assert ranked[row["name"]]["without_one_opponent"] == row["rank_without_one_opponent"]
            if role == "defense" and rules == "fair":
                assert curves[row["name"]]["mean"][0] == row["clean_accuracy"]
    assert [row["image"] for row in report["images"] if row["undefended"]] == board["images"]["undefended"]


def test_with_one_budget_a_curve_ends_where_the_board_is():
    table = score_table(np.random.default_rng(1).integers(1, 3, (4, 1, 3, 30)))
    evidence = make_evidence(table)
    report, board = build_report(evidence), board_of(evidence)
    for side in ("attacks", "defenses"):
        curves = {row["name"]: row for row in report["curves"][side]}
        for row in board[side]:
            curve = curves[row["name"]]
            assert curve["worst"][1] | {"opponent": curve["worst_opponent"][1]} == row["worst_case"]
            assert curve["every"][1] == row["every_opponent"]
            if side == "attacks":
                assert curve["where_clean_correct"][1] == row["success_where_clean_correct"]


# --- costs


def test_costs_are_sums_over_the_calls_of_this_round():
    table = score_table(np.ones((1, 1, 1, 20)))
    attack, defense = "player of a0", "player of d0"
    ledger = [
        call(attack, Role.ATTACK, "a0-4-0", seconds=4, images=20, memory=7),
        call(attack, Role.ATTACK, "of another round", seconds=100, images=20),
        call(defense, key="1", seconds=1, images=10, memory=300),
        call(defense, key="2", seconds=6, images=30, verdict=Verdict.TIMEOUT, memory=200),
        call(defense, key="3", seconds=2, images=10),
    ]
    evidence = make_evidence(table, ledger, {"limits": {"seconds": 8}}, batch_size=20)
    of_attack, of_defense = build_report(evidence)["costs"]
    assert of_attack["calls"] == 1
    assert (of_attack["seconds_per_100_images"], of_attack["peak_memory"], of_attack["headroom"]) == (20, 7, 2)
    assert of_defense | {"score": None, "on_front": None} == {
        "name": "d0",
        "type": "defense",
        "score": None,
        "calls": 3,
        "failed_calls": 1,
        "images": 50,
        "seconds": 9,
        "seconds_per_100_images": 18,
        "spread": [10, 20, 20],
        "slowest_call": 6,
        "peak_memory": 300,
        "seconds_limit": 8,
        "headroom": 2.666667,  # of a call of two batches
        "on_front": None,
    }


def test_what_is_not_known_is_null_and_on_no_front():
    report = build_report(make_evidence(score_table(np.ones((1, 1, 1, 2)))))
    assert report["pareto"] == []
    for row in report["costs"]:
        unknown = ("seconds_per_100_images", "spread", "slowest_call", "peak_memory", "seconds_limit", "headroom")
        assert [row[key] for key in unknown] == [None] * 6


def test_the_front_is_of_each_role_for_itself():
    table = score_table([[[[1, 1], [1, 2]]], [[[1, 1], [1, 2]]]])  # the defense d0 is better than d1
    ledger = [call(f"player of d{number}", key=str(number), seconds=1 + number) for number in range(2)]
    ledger += [call(f"player of a{number}", Role.ATTACK, f"a{number}-4-0", seconds=1 + number) for number in range(2)]
    report = build_report(make_evidence(table, ledger))
    assert report["pareto"] == ["a0", "d0"]
    assert [row["on_front"] for row in report["costs"]] == [True, False, True, False]


# --- clones and ranks


def test_copies_are_named_on_both_sides_and_count_once():
    table = random_table(seed=3)
    labels, clean = table.labels.copy(), table.clean.copy()
    labels[:, :, 2], clean[2] = labels[:, :, 0], clean[0]
    table = replace(table, labels=labels, clean=clean)
    lengths = np.full((5, 5), 10) + 90 * np.eye(5, dtype=np.int64)
    lengths[1, 3] = lengths[3, 1] = 95
    similarity = Similarity(table.attacks, "5", ("i0", "i7"), np.stack([lengths, lengths]))
    report = build_report(make_evidence(table, similarity=similarity))
    (attacks,), (defenses,) = report["clones"]["attacks"], report["clones"]["defenses"]
    assert attacks == {"one": "a1", "other": "a3", "cosine": 0.95, "images": 2, "epsilon": "5"}
    assert (defenses["one"], defenses["other"], defenses["same_errors"], defenses["answers"]) == ("d0", "d2", 1, 200)
    wrong = (table.labels != table.true_labels)[:3].sum(axis=(1, 3))
    points = wrong[:, [0, 2]].mean(axis=1) + wrong[:, 1]
    expected = stats.rankdata(-points, method="min").astype(int).tolist()
    assert [row["clones_counted_once"] for row in report["stability"]["attacks"]] == expected


def test_without_pixels_no_attack_is_called_a_clone():
    report = build_report(make_evidence(random_table()))
    assert report["clones"]["attacks"] == []
    assert "cosine" not in report["likeness"]["attacks"]


def test_ranks_without_one_other_are_those_of_smaller_tables():
    table = random_table(seed=5, attacks=6, targeted=0, defenses=4)
    points = (table.labels != table.true_labels).sum(axis=(1, 3))

    def placed(points):
        return stats.rankdata(-points.sum(axis=1), method="min").astype(int)

    report = build_report(make_evidence(table))["stability"]
    for number, row in enumerate(report["attacks"]):
        others = [placed(np.delete(points, gone, axis=1))[number] for gone in range(4)]
        rivals = [
            placed(np.delete(points, gone, axis=0))[number - (gone < number)] for gone in range(6) if gone != number
        ]
        assert row["without_one_opponent"] == [min(others), max(others)]
        assert row["decisive_opponents"] == [f"d{gone}" for gone in range(4) if others[gone] != row["rank"]]
        assert row["without_one_competitor"] == [min(rivals), max(rivals)]
    left_out = [row for row in report["left_out"] if row["ranking"] == "attacks"]
    for gone, row in enumerate(left_out):
        without = placed(np.delete(points, gone, axis=1))
        assert (row["name"], row["type"]) == (f"d{gone}", "defense")
        assert row["kendall_tau"] == pytest.approx(stats.kendalltau(placed(points), without).statistic, abs=1e-6)
        assert row["largest_move"] == np.abs(without - placed(points)).max()
    assert {row["type"] for row in report["left_out"] if row["ranking"] == "defenses"} == {"attack"}


# --- images and curves


def test_an_answer_that_is_not_known_yet_makes_no_image_hard():
    labels = np.ones((2, 1, 2, 3))
    labels[:, :, :, 0] = UNKNOWN
    labels[0, :, 0, 1] = UNKNOWN
    labels[1, :, 1, 1] = 2
    labels[:, :, :, 2] = 2
    rows = build_report(make_evidence(score_table(labels)))["images"]
    assert [row["difficulty"] for row in rows] == [None, 0.333333, 1]
    assert [row["undefended"] for row in rows] == [False, False, True]


def test_where_clean_is_correct_leaves_out_the_defenses_that_err_undisturbed():
    labels = np.array([[[[1], [2]]]])
    table = score_table(labels, clean=[[1], [2]])
    (row,) = build_report(make_evidence(table))["images"]
    assert (row["difficulty"], row["difficulty_where_clean_correct"], row["lost_to_best"]) == (0.5, 0, 0.5)


def test_suspects_are_those_of_the_board():
    table = score_table(np.ones((1, 1, 3, 2)), clean=[[1, 2], [1, 2], [1, 1]])
    rows = build_report(make_evidence(table))["images"]
    assert [row["suspect"] for row in rows] == [None, {"label": 2, "votes": 2}]


def test_budgets_that_were_dealt_out_count_the_images_that_had_them():
    labels = np.ones((1, 1, 1, 4))
    labels[..., 3] = 2
    evidence = make_evidence(score_table(labels), batch_size=2, budgets=((4, 16),), epsilons=("rotate",))
    curves = build_report(evidence)["curves"]
    assert curves["budgets"] == [0, 4, 16]
    assert [point["normalised"] for point in curves["defenses"][0]["mean"]] == [1, 1, 0.5]
    assert [point["normalised"] for point in curves["attacks"][0]["mean"]] == [0, 0, 0.5]


def test_at_no_budget_a_targeted_attack_has_what_clean_images_give():
    table = random_table()
    report = build_report(make_evidence(table))
    hits = (table.clean == table.target_classes).mean()
    for row in report["curves"]["targeted_attacks"]:
        assert row["mean"][0]["normalised"] == pytest.approx(hits, abs=1e-6)


# --- of a round that was played


def test_the_report_of_a_played_round(tmp_path):
    write_dataset(tmp_path / "dataset")
    write_players(tmp_path / "players", attacks=("noop", "shift 3", "shift 6"), defenses=("sum", "sum"))
    with open_field(tmp_path, epsilon=2) as field:
        field.play()
        round_, index = field.prepared.round, field.store.index
        audits = read_audits(round_, index)
        evidence = Evidence(
            round_, assemble(round_, index), audits, tuple(index.calls(round_.players())), {},
            measure_similarity(round_, audits, field.store),
        )  # fmt: skip
    report = build_report(evidence)
    assert [(pair["one"], pair["other"]) for pair in report["clones"]["attacks"]] == [("a1", "a2")]  # clipped to 2
    assert [row["calls"] for row in report["costs"][:3]] == [1, 1, 1]
    assert {row["seconds_per_100_images"] for row in report["costs"][:3]} == {12.5}


# --- the page


def keys_of(value):
    """Every key of a JSON value but those of rows of strangers' names, of which there are none in a report."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from keys_of(one)


def test_every_key_is_explained():
    similarity = Similarity(
        tuple(f"a{number}" for number in range(5)), "5", ("i0",), np.ones((1, 5, 5), dtype=np.int64)
    )
    report = build_report(make_evidence(random_table(), similarity=similarity))
    page = (ROOT / "docs/statistics.md").read_text() + (ROOT / "docs/formats.md").read_text()
    assert sorted(key for key in set(keys_of(report)) if f"`{key}`" not in page) == []
