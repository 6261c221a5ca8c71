"""What the report says of ranks, curves, fronts and images is what removing, sorting and counting by hand gives."""

import itertools

import numpy as np
import pytest
from helpers import score_table, tables
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from harness.scoring import count_points
from harness.statistics.bootstrap import draw_images, ratios
from harness.statistics.curves import at_budget
from harness.statistics.difficulty import difficulty, lost_to_best
from harness.statistics.pareto import front
from harness.statistics.stability import kendall_tau, ranks_of_groups
from harness.statistics.wins import attack_wins, defense_wins

RANKS = arrays(np.int64, st.integers(1, 7), elements=st.integers(1, 5))


# --- ranks


@given(st.data(), st.integers(1, 5), st.integers(1, 5))
def test_a_group_of_opponents_counts_as_one(data, submissions, opponents):
    points = data.draw(arrays(np.int32, (submissions, opponents), elements=st.integers(0, 9)))
    groups = data.draw(st.lists(st.integers(0, 2), min_size=opponents, max_size=opponents))
    means = [
        sum(points[one, np.array(groups) == group].mean() for group in sorted(set(groups)))
        for one in range(submissions)
    ]
    expected = stats.rankdata(-np.round(means, 9), method="min")
    assert ranks_of_groups(points, groups).tolist() == expected.tolist()


def test_copies_of_an_opponent_do_not_decide_a_rank():
    """Three copies of the opponent that the first is good at, against one of the other kind."""
    points = np.array([[9, 9, 9, 0], [4, 4, 4, 7]])
    assert ranks_of_groups(points, [0, 1, 2, 3]).tolist() == [1, 2]
    assert ranks_of_groups(points, [0, 0, 0, 3]).tolist() == [2, 1]


@given(st.data(), RANKS)
def test_tau_is_that_of_scipy(data, one):
    other = data.draw(arrays(np.int64, len(one), elements=st.integers(1, 5)))
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert np.isnan(kendall_tau(one, other))
    else:
        assert kendall_tau(one, other) == pytest.approx(stats.kendalltau(one, other).statistic)


# --- the front


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4) | st.none()), max_size=7))
def test_whoever_is_not_on_the_front_is_beaten_and_nobody_on_it_is(rows):
    scores, costs = [row[0] for row in rows], [row[1] for row in rows]
    on_front = set(front(scores, costs))
    for place, (score, cost) in enumerate(rows):
        better = [
            (s, c) for s, c in rows
            if c is not None and cost is not None and s >= score and c <= cost and (s, c) != (score, cost)
        ]  # fmt: skip
        assert (place in on_front) == (cost is not None and not better)


# --- curves


@given(tables(min_attacks=1), st.data())
def test_a_share_at_a_budget_is_that_of_the_answers_that_had_it(table, data):
    assume(table.defenses)
    played = data.draw(arrays(np.bool_, (len(table.epsilons), len(table.images))))
    wins = defense_wins(table, count_points(table, "fair"))
    found = at_budget(wins, played, draw_images(len(table.images), 1, draws=20))
    right = table.labels == table.true_labels
    for defense in range(len(table.defenses)):
        shares = [right[attack, :, defense][played] for attack in range(len(table.attacks))]
        if not played.any():
            assert np.isnan(found.mean[defense]).all()
            assert np.isnan(found.worst[defense]).all()
            assert np.isnan(found.every[defense]).all()
            continue
        assert found.mean[defense, 0] == pytest.approx(np.mean(shares))
        assert found.worst[defense, 0] == pytest.approx(min(map(np.mean, shares)))
        assert np.mean(shares[found.hardest[defense]]) == pytest.approx(found.worst[defense, 0])
        assert found.every[defense, 0] == pytest.approx(np.mean(np.all(shares, axis=0)))


def test_the_interval_of_a_curve_is_that_of_the_board():
    generator = np.random.default_rng(5)
    table = score_table(generator.integers(1, 3, (3, 2, 2, 40)))
    wins = attack_wins(table, count_points(table, "fair"), targeted=False)
    weights = draw_images(40, seed=3)
    everything = at_budget(wins, np.ones((2, 40), dtype=bool), weights)
    assert np.array_equal(everything.mean, ratios(wins.by_image, np.full(40, wins.possible), weights))
    second = np.array([[False] * 40, [True] * 40])
    expected = ratios(wins.won[:, :, 1].sum(axis=1), np.full(40, 2), weights)
    assert np.array_equal(at_budget(wins, second, weights).mean, expected)


# --- images


@given(tables())
def test_difficulty_counts_wrong_answers_one_by_one(table):
    correct = table.labels == table.true_labels
    counted = table.labels >= 0
    found = difficulty(correct), difficulty(correct, counted), lost_to_best(correct, counted)
    for image in range(len(table.images)):
        answers = list(itertools.product(*map(range, correct.shape[:3])))
        wrong = [not correct[(*place, image)] for place in answers]
        some = [not correct[(*place, image)] for place in answers if counted[(*place, image)]]
        lost = [(counted & ~correct)[:, :, defense, image].any() for defense in range(correct.shape[2])]
        for values, expected in zip(found, (wrong, some, lost), strict=True):
            if expected:
                assert values[image] == pytest.approx(np.mean(expected))
            else:
                assert np.isnan(values[image])
