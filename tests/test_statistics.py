"""A number on the board is what an independent computation finds, and an interval holds as often as it says.

Oracles: scipy.stats, sums by hand, every possible order or mixture where there are few. Where the truth is known
because the tables are drawn from it, coverage and false alarms are counted.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.scoring import ScoreTable, count_points
from harness.statistics.bootstrap import draw_images, ratios, with_intervals, worst_opponents
from harness.statistics.difficulty import difficulty, label_suspects, undefended
from harness.statistics.game import bradley_terry, solve_game
from harness.statistics.ranking import (
    adjusted_tests,
    holm,
    images_to_separate,
    paired_tests,
    rank_intervals,
    tiers,
)
from harness.statistics.stability import agreement, cosines, ranks_without
from harness.statistics.wins import Wins, attack_wins, defense_wins


def random_table(seed, attacks=5, untargeted=3, epsilons=2, defenses=4, images=12):
    generator = np.random.default_rng(seed)
    shape = (attacks, epsilons, defenses, images)
    return ScoreTable(
        attacks=tuple(f"a{number}" for number in range(attacks)),
        untargeted=untargeted,
        defenses=tuple(f"d{number}" for number in range(defenses)),
        epsilons=tuple(map(str, range(epsilons))),
        images=tuple(map(str, range(images))),
        labels=generator.integers(-1, 3, shape, dtype=np.int32),
        valid=generator.random((attacks, epsilons, images)) < 0.9,
        clean=generator.integers(0, 3, (defenses, images), dtype=np.int32),
        true_labels=generator.integers(0, 3, images, dtype=np.int32),
        target_classes=generator.integers(0, 3, images, dtype=np.int32),
    )


def random_wins(seed, submissions=4, opponents=3, epsilons=2, images=25):
    generator = np.random.default_rng(seed)
    won = generator.random((submissions, opponents, epsilons, images)) < generator.random((submissions, 1, 1, 1))
    names = tuple(map(str, range(submissions))), tuple(map(str, range(opponents)))
    return Wins(*names, won, np.ones((submissions, images), dtype=bool))


# --- who won what


@pytest.mark.parametrize("rules", ["fair", "nips17-dev", "nips17-final"])
def test_wins_are_the_points_one_by_one(rules):
    table = random_table(seed=1)
    points = count_points(table, rules)
    defended = defense_wins(table, points), points.correct.transpose(2, 0, 1, 3), points.for_defenses
    fooled = attack_wins(table, points, targeted=False), points.fooled[:3].transpose(0, 2, 1, 3), points.for_attacks
    hit = attack_wins(table, points, targeted=True), points.hit[3:].transpose(0, 2, 1, 3), points.for_attacks
    for wins, expected, used in (defended, fooled, hit):
        opponents = np.flatnonzero(used)
        assert wins.won.shape == (len(wins.names), len(opponents), 2, 12)
        for place in np.ndindex(wins.won.shape):
            submission, opponent, epsilon, image = place
            assert wins.won[place] == expected[submission, opponents[opponent], epsilon, image]
        assert (wins.by_image.sum(axis=1) == wins.by_opponent.sum(axis=1)).all()
        assert wins.possible == 2 * len(opponents)


# --- bootstrap


def test_every_draw_has_as_many_images_as_there_are_and_the_seed_decides_it():
    weights = draw_images(30, seed=3, draws=50)
    assert (weights.sum(axis=1) == 30).all()
    assert (weights == draw_images(30, seed=3, draws=50)).all()
    assert (weights != draw_images(30, seed=4, draws=50)).any()


@given(st.integers(0, 10_000))
def test_a_ratio_and_its_interval_are_those_of_lists_of_drawn_images(seed):
    generator = np.random.default_rng(seed)
    above, below = generator.integers(0, 5, (2, 3, 17))
    below += 1
    weights = draw_images(17, seed, draws=40)
    found = ratios(above, below, weights)
    for number in range(3):
        drawn = []
        for row in weights:
            images = np.repeat(np.arange(17), row.astype(int))
            drawn.append(above[number, images].sum() / below[number, images].sum())
        expected = [above[number].sum() / below[number].sum(), *np.quantile(drawn, [0.025, 0.975])]
        assert found[number] == pytest.approx(expected, rel=1e-5)


def test_an_interval_is_that_of_scipy_but_for_chance():
    values = np.random.default_rng(5).integers(0, 10, 80)
    ours = ratios(values[None], np.full(80, 10), draw_images(80, seed=1, draws=20_000))[0]
    theirs = stats.bootstrap(
        (values / 10,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours[1:] == pytest.approx([theirs.low, theirs.high], abs=0.004)


def test_a_ratio_of_nothing_is_nan_and_draws_without_any_are_left_out():
    weights = draw_images(4, seed=0, draws=200)
    rare = ratios(np.array([[0, 0, 0, 1], [0, 0, 0, 0]]), np.array([[0, 0, 0, 1], [0, 0, 0, 0]]), weights)
    assert rare[0].tolist() == [1, 1, 1]
    assert np.isnan(rare[1]).all()


def test_the_hardest_opponent_is_sought_in_each_draw():
    wins = random_wins(seed=7)
    weights = draw_images(25, seed=1, draws=60)
    found, which = worst_opponents(wins, weights)
    for number in range(4):
        shares = wins.won[number].mean(axis=(1, 2))
        drawn = [
            min((wins.won[number, opponent] * row / 25).sum() / 2 for opponent in range(3)) for row in weights
        ]  # fmt: skip
        assert found[number] == pytest.approx([shares.min(), *np.quantile(drawn, [0.025, 0.975])], rel=1e-5)
        assert shares[which[number]] == shares.min()


def test_the_hardest_opponent_of_a_table_in_parts_is_that_of_the_whole(monkeypatch):
    wins, weights = random_wins(seed=8, submissions=7), draw_images(25, seed=1, draws=60)
    whole, _ = worst_opponents(wins, weights)
    monkeypatch.setattr("harness.statistics.bootstrap.CHUNK", 3 * 25 * 2)
    assert np.array_equal(worst_opponents(wins, weights)[0], whole)


@pytest.mark.parametrize("probability", [0.3, 0.8])
def test_intervals_hold_as_often_as_they_say(probability):
    """Of 2,000 tables of 200 images and ten opponents, each image easy or hard for all opponents together."""
    generator = np.random.default_rng(11)
    tables, images, opponents = 2000, 200, 10
    ease = np.clip(generator.normal(0, 0.15, (tables, images)) + probability, 0, 1)
    truth = np.clip(generator.normal(0, 0.15, 2_000_000) + probability, 0, 1).mean()
    points = generator.binomial(opponents, ease)
    found = ratios(points, np.full(images, opponents), draw_images(images, seed=2))
    held = ((found[:, 1] <= truth) & (truth <= found[:, 2])).mean()
    assert 0.93 <= held <= 0.97


def test_a_value_keeps_its_place_between_its_bounds():
    estimates = with_intervals(np.array([2.0]), np.array([[1.0], [2.0], [3.0]]))
    assert estimates.shape == (1, 3)
    assert estimates[0, 1] < estimates[0, 0] < estimates[0, 2]


# --- ranking


def test_a_paired_test_is_that_of_scipy():
    points = np.random.default_rng(2).integers(0, 9, (4, 60))
    found = paired_tests(points)
    for one, other in itertools.permutations(range(4), 2):
        assert found[one, other] == pytest.approx(stats.ttest_rel(points[one], points[other]).pvalue)
    assert (np.diag(found) == 1).all()


def test_few_images_prove_little_however_they_agree():
    """One better by the same on each of four images has a t statistic without bound; of signs, one of 16 is so."""
    assert paired_tests(np.array([[2, 3, 4, 5], [1, 2, 3, 4]]))[0, 1] == 2 / 16
    assert paired_tests(np.array([[2], [1]]))[0, 1] == 1
    assert paired_tests(np.array([[2, 2], [2, 2]]))[0, 1] == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_step_down(p):
    adjusted = holm(np.array(p))
    expected, running = {}, 0.0
    for step, number in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        running = max(running, min(1, (len(p) - step) * p[number]))
        expected[number] = running
    assert adjusted.tolist() == pytest.approx([expected[number] for number in range(len(p))])


def test_equal_submissions_are_told_apart_in_at_most_one_of_twenty_tables():
    """Eight of one strength on 60 images that are easy or hard for all of them."""
    generator = np.random.default_rng(13)
    alarms = 0
    for _ in range(1000):
        points = generator.binomial(6, generator.beta(2, 2, 60), (8, 60))
        alarms += (adjusted_tests(points) <= 0.05).any()
    assert alarms <= 60  # 50, and a deviation and a half of chance


def test_rank_intervals_hold_the_true_ranks():
    generator = np.random.default_rng(17)
    strengths = np.linspace(0.3, 0.7, 9)
    missed = 0
    for _ in range(300):
        points = generator.binomial(10, np.clip(strengths[:, None] + generator.normal(0, 0.2, 80), 0, 1))
        found = rank_intervals(points.sum(axis=1), adjusted_tests(points))
        true_ranks = np.arange(9, 0, -1)
        missed += ((true_ranks < found[:, 0]) | (true_ranks > found[:, 1])).any()
    assert missed <= 300 * 0.05


def test_tiers_begin_with_the_best_that_can_be_told_from_the_one_before():
    scores = np.array([10, 40, 30, 38])
    adjusted = np.ones((4, 4))
    for one, other in ((1, 2), (1, 0), (3, 0)):
        adjusted[one, other] = adjusted[other, one] = 0.01
    assert tiers(scores, adjusted) == [2, 1, 2, 1]
    assert rank_intervals(scores, adjusted).tolist() == [[3, 4], [1, 2], [2, 4], [1, 3]]
    assert tiers(scores, np.ones((4, 4))) == [1, 1, 1, 1]
    assert tiers(scores, np.zeros((4, 4))) == [4, 1, 3, 2]


def test_as_many_images_as_are_asked_for_tell_two_apart_with_the_power_that_was_asked_for():
    generator = np.random.default_rng(19)
    chances = np.array([0.55, 0.62])

    def draw(images):
        return (generator.random((2, images)) < chances[:, None]).astype(int)

    needed = int(images_to_separate(draw(200_000))[0, 1])
    told = np.mean([paired_tests(draw(needed))[0, 1] <= 0.05 for _ in range(600)])
    assert 0.75 <= told <= 0.85
    assert np.isinf(images_to_separate(np.ones((2, 9), dtype=int))[0, 1])


# --- stability


def test_ranks_without_an_opponent_are_those_of_the_table_without_it():
    wins = random_wins(seed=23, submissions=5, opponents=4)
    found = ranks_without(wins.by_opponent)
    for left_out in range(4):
        kept = [number for number in range(4) if number != left_out]
        scores = wins.won[:, kept].sum(axis=(1, 2, 3))
        assert found[:, left_out].tolist() == stats.rankdata(-scores, method="min").tolist()


def test_agreement_counts_equal_answers_and_no_absent_ones():
    labels = np.array([[1, 2, 3, -1], [1, 2, 5, -1], [9, 9, 9, 9]], dtype=np.int32)
    assert agreement(labels).tolist() == [[0.75, 0.5, 0], [0.5, 0.75, 0], [0, 0, 1]]


def test_a_copy_points_the_same_way_and_its_opposite_the_other():
    one = np.random.default_rng(1).integers(-16, 17, (6, 50))
    found = cosines(np.stack([one, one * 2, -one, np.zeros_like(one)]))
    assert found[0].tolist() == pytest.approx([1, 1, -1, 0])
    assert found[3, 3] == 1


# --- games


def test_strengths_of_a_table_that_was_drawn_from_them():
    attacks, defenses = np.array([1.0, 0.0, -1.0]), np.array([0.5, -0.5])
    chances = 1 / (1 + np.exp(-(attacks[:, None] - defenses[None])))
    games = np.full((3, 2), 1e6)
    found = bradley_terry(chances * games, games)
    shift = np.concatenate([attacks, defenses]).mean()
    assert found.attacks == pytest.approx(attacks - shift, abs=1e-4)
    assert found.defenses == pytest.approx(defenses - shift, abs=1e-4)


@given(st.integers(0, 10_000))
def test_strengths_fit_everybody_s_wins(seed):
    """Where the likelihood is largest, each has as many wins as its strength foretells: the pairs' prior included."""
    generator = np.random.default_rng(seed)
    games = np.full((4, 3), 20)
    fooled = generator.integers(0, 21, (4, 3))
    found = bradley_terry(fooled, games)
    foretold = (games + 1) / (1 + np.exp(found.defenses[None] - found.attacks[:, None]))
    assert foretold.sum(axis=1) == pytest.approx(fooled.sum(axis=1) + 1.5)
    assert foretold.sum(axis=0) == pytest.approx(fooled.sum(axis=0) + 2)


def test_who_always_wins_has_a_strength():
    found = bradley_terry(np.array([[10, 10], [0, 0]]), np.full((2, 2), 10))
    assert np.isfinite(found.attacks).all()
    assert found.attacks[0] > found.attacks[1]


def test_rock_paper_scissors():
    found = solve_game(np.array([[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]]))
    assert found.value == pytest.approx(0.5)
    assert found.attacks == pytest.approx([1 / 3] * 3)
    assert found.defenses == pytest.approx([1 / 3] * 3)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 5))
def test_neither_side_of_an_equilibrium_gains_by_leaving_it(seed, attacks, defenses):
    fooled = np.random.default_rng(seed).random((attacks, defenses)).round(2)
    found = solve_game(fooled)
    assert (fooled @ found.defenses).max() == pytest.approx(found.value, abs=1e-7)
    assert (found.attacks @ fooled).min() == pytest.approx(found.value, abs=1e-7)
    for mixture in (found.attacks, found.defenses):
        assert mixture.sum() == pytest.approx(1)
        assert (mixture >= 0).all()


# --- images


def test_how_hard_images_are():
    correct = np.zeros((2, 1, 2, 4), dtype=bool)
    correct[:, :, :, 0] = True
    correct[:, :, 0, 1] = True
    correct[0, :, :, 2] = True
    assert difficulty(correct).tolist() == [0, 0.5, 0.5, 1]
    assert undefended(correct).tolist() == [2, 3]


def test_a_label_is_suspected_where_most_agree_on_another():
    clean = np.array([[1, 7, 7, 1], [1, 7, 8, -1], [2, 7, 9, -1]], dtype=np.int32)
    (found,) = label_suspects(clean, np.array([1, 1, 1, 1]))
    assert (found.image, found.label, found.votes) == (1, 7, 3)
