"""A number on the board is what an independent computation finds: scipy, scikit-learn, sums by hand, every possible
order or mixture where there are few. What holds only on average is in `test_statistics_truth`."""

import itertools
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.scoring import ScoreTable, count_points
from harness.statistics import bootstrap
from harness.statistics.bootstrap import GRAIN, UNSEEN, draw_images, ratios
from harness.statistics.difficulty import difficulty, label_suspects, undefended
from harness.statistics.game import bradley_terry, solve_game
from harness.statistics.hardest import worst_opponents
from harness.statistics.ranking import UNSEEN as UNSEEN_IN_TESTS
from harness.statistics.ranking import (
    adjusted_tests,
    holm,
    images_to_separate,
    paired_tests,
    rank_intervals,
    tiers,
)
from harness.statistics.stability import ranks_without
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
    defended = defense_wins(table, points), points.correct[...].transpose(2, 0, 1, 3), points.for_defenses
    fooled = attack_wins(table, points, targeted=False), points.fooled[:3].transpose(0, 2, 1, 3), points.for_attacks
    hit = attack_wins(table, points, targeted=True), points.hit[3:].transpose(0, 2, 1, 3), points.for_attacks
    for wins, expected, used in (defended, fooled, hit):
        opponents = np.flatnonzero(used)
        assert wins.won.shape == (len(wins.names), len(opponents), 2, 12)
        won = wins.won[...]
        for place in np.ndindex(won.shape):
            submission, opponent, epsilon, image = place
            assert won[place] == expected[submission, opponents[opponent], epsilon, image]
        assert (wins.by_epsilon == won.sum(axis=1)).all()
        assert (wins.by_image == won.sum(axis=(1, 2))).all()
        assert (wins.by_opponent == won.sum(axis=(2, 3))).all()
        assert wins.possible == 2 * len(opponents)


# --- bootstrap


def test_weights_are_whole_exponential_ones_and_the_seed_decides_them():
    weights = draw_images(30, seed=3, draws=2000)
    assert (weights == np.rint(weights)).all()
    assert weights.min() >= 1
    assert stats.kstest(weights.ravel() / GRAIN, "expon").statistic < 0.01
    assert (weights == draw_images(30, seed=3, draws=2000)).all()
    assert (weights != draw_images(30, seed=4, draws=2000)).any()


@pytest.mark.parametrize("piece", [1, 30, 77, 1000])
def test_draws_may_be_worked_on_in_pieces(monkeypatch, piece):
    points, weights = np.random.default_rng(0).integers(0, 9, (3, 30)), draw_images(30, seed=3, draws=21)
    whole = ratios(points, np.full(30, 9), weights)
    monkeypatch.setattr(bootstrap, "PIECE", piece)
    assert np.array_equal(ratios(points, np.full(30, 9), weights), whole)


def interval_by_hand(above, below, weights, least=0):
    """Each draw as exact fractions; the unseen image as large as an image is on average, larger ones counting more."""
    unseen = GRAIN * stats.gamma.ppf((np.arange(len(weights)) + 0.5) / len(weights), UNSEEN)
    size = Fraction(sum(int(each) ** 2 for each in below), sum(map(int, below)))
    lower, upper = [], []
    for row, extra in zip(weights, unseen, strict=True):
        won = sum(int(weight) * int(points) for weight, points in zip(row, above, strict=True))
        possible = sum(int(weight) * int(points) for weight, points in zip(row, below, strict=True))
        more = extra * float(size)
        lower.append((won + least * more) / (possible + more))
        upper.append((won + more) / (possible + more))
    value = sum(map(int, above)) / sum(map(int, below))
    return [value, min(value, np.quantile(lower, 0.025)), max(value, np.quantile(upper, 0.975))]


@given(st.integers(0, 10_000), st.sampled_from([0, -1]))
def test_a_ratio_and_its_interval_are_those_of_sums_by_hand(seed, least):
    generator = np.random.default_rng(seed)
    below = generator.integers(1, 5, (3, 17))
    above = generator.integers(least * below, below + 1)
    weights = draw_images(17, seed, draws=40)
    found = ratios(above, below, weights, least)
    for number in range(3):
        assert found[number] == pytest.approx(interval_by_hand(above[number], below[number], weights, least))
    shared = ratios(np.minimum(above, below[0]), below[0], weights, least)
    assert shared[1] == pytest.approx(interval_by_hand(np.minimum(above[1], below[0]), below[0], weights, least))


@pytest.mark.parametrize(("won", "images"), [(0, 20), (1, 20), (7, 20), (20, 20), (99, 100), (1, 1)])
def test_with_one_opponent_the_ends_are_quantiles_of_beta_distributions(won, images):
    """As those of Clopper and Pearson, with half an image in the place of a whole one."""
    found = ratios(np.arange(images)[None] < won, np.ones(images), draw_images(images, seed=1, draws=40_000))[0]
    lower = stats.beta.ppf(0.025, won, images - won + UNSEEN) if won else 0
    upper = stats.beta.ppf(0.975, won + UNSEEN, images - won) if won < images else 1
    assert found == pytest.approx([won / images, lower, upper], abs=0.005)
    exact = stats.binomtest(won, images).proportion_ci()
    assert exact.low - 0.005 <= found[1] <= won / images <= found[2] <= exact.high + 0.005


def test_with_many_images_an_interval_is_that_of_scipy_s_bootstrap():
    values = np.random.default_rng(5).integers(0, 11, 4000)
    ours = ratios(values[None], np.full(4000, 10), draw_images(4000, seed=1, draws=4000))[0]
    theirs = stats.bootstrap((values / 10,), np.mean, n_resamples=4000, rng=np.random.default_rng(2), batch=500)
    low, high = theirs.confidence_interval
    assert ours[1:] == pytest.approx([low, high], abs=0.05 * (high - low))


def test_a_ratio_of_nothing_is_nan_and_one_of_a_single_image_is_wide():
    weights = draw_images(4, seed=0, draws=1000)
    rare = ratios(np.array([[0, 0, 0, 1], [0, 0, 0, 0]]), np.array([[0, 0, 0, 1], [0, 0, 0, 0]]), weights)
    assert rare[0, [0, 2]].tolist() == [1, 1]
    assert rare[0, 1] == pytest.approx(stats.beta.ppf(0.025, 1, UNSEEN), abs=0.03)
    assert np.isnan(rare[1]).all()


# --- the hardest opponent


def worst_by_hand(won):
    """won: O x N, one answer an image."""
    opponents, images = won.shape
    counts = won.sum(axis=1)
    hardest = int(counts.argmin())
    chosen = []
    for opponent in range(opponents):
        differences = won[opponent].astype(int) - won[hardest]
        if differences.mean() <= 3 * differences.std() / np.sqrt(images):
            chosen.append(int(counts[opponent]))
    lower = [stats.beta.ppf(0.025, k, images - k + UNSEEN) if k else 0 for k in chosen]
    upper = [stats.beta.ppf(1 - 0.025 / len(chosen), k + UNSEEN, images - k) if k < images else 1 for k in chosen]
    value = counts[hardest] / images
    return hardest, [value, min(value, *lower), max(value, min(upper))]


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 40))
def test_the_interval_of_the_hardest_is_binomial_for_all_that_may_be_it(seed, opponents, images):
    generator = np.random.default_rng(seed)
    won = generator.random((2, opponents, 1, images)) < generator.random((2, opponents, 1, 1))
    found, which = worst_opponents(Wins(("a", "b"), ("o",) * opponents, won, np.ones((2, images), dtype=bool)))
    for number in range(2):
        hardest, expected = worst_by_hand(won[number, :, 0])
        assert which[number] == hardest
        assert found[number] == pytest.approx(expected)


def test_an_image_that_answers_always_alike_counts_once_however_often_it_is_asked():
    once = random_wins(seed=7, epsilons=1).won
    found, _ = worst_opponents(Wins(("a",) * 4, ("o",) * 3, np.repeat(once, 4, axis=2), np.ones((4, 25), dtype=bool)))
    expected, _ = worst_opponents(Wins(("a",) * 4, ("o",) * 3, once, np.ones((4, 25), dtype=bool)))
    assert found == pytest.approx(expected)


def test_independent_answers_about_an_image_count_nearly_as_images():
    won = np.random.default_rng(1).random((1, 1, 4, 5000)) < 0.3
    found, _ = worst_opponents(Wins(("a",), ("o",), won, np.ones((1, 5000), dtype=bool)))
    one = won.reshape(1, 1, 1, -1)
    expected, _ = worst_opponents(Wins(("a",), ("o",), one, np.ones((1, 20_000), dtype=bool)))
    assert found == pytest.approx(expected, abs=3e-4)


def test_only_answers_that_count_are_looked_at():
    wins = random_wins(seed=9, epsilons=1)
    there = np.arange(25) % 3 == 0
    found, which = worst_opponents(wins, there[None])
    part = Wins(wins.names, wins.opponents, wins.won[..., there], wins.clean_correct[:, there])
    expected, hardest = worst_opponents(part)
    assert found == pytest.approx(expected)
    assert (which == hardest).all()
    nothing, _ = worst_opponents(wins, np.zeros((1, 25), dtype=bool))
    assert np.isnan(nothing).all()
    alone, _ = worst_opponents(Wins(("a",), (), np.zeros((1, 0, 1, 5), dtype=bool), np.zeros((0, 5), dtype=bool)))
    assert np.isnan(alone).all()


# --- ranking


def test_of_many_images_a_paired_test_is_that_of_scipy():
    points = np.random.default_rng(2).integers(0, 9, (4, 20_000))
    found = paired_tests(points, 8)
    for one, other in itertools.permutations(range(4), 2):
        assert found[one, other] == pytest.approx(stats.ttest_rel(points[one], points[other]).pvalue, abs=0.02)
    assert (np.diag(found) == 1).all()


@given(st.integers(0, 10_000), st.integers(2, 30))
def test_a_paired_test_has_a_whole_image_against_the_better_one(seed, images):
    """The moments of weighted values, from their definition."""
    points = np.random.default_rng(seed).integers(0, 9, (2, images))
    differences = (points[0] - points[1]) * (1 if points[0].sum() >= points[1].sum() else -1)
    values, weights = np.append(differences, -8), np.append(np.ones(images), UNSEEN_IN_TESTS)
    mean = np.average(values, weights=weights)
    variance = (weights * (values - mean) ** 2).sum() / (weights.sum() - 1)
    t = max(mean, 0) / np.sqrt(variance / weights.sum())
    signs = min(1, 2.0 ** (1 - np.count_nonzero(differences)))
    assert paired_tests(points, 8)[0, 1] == pytest.approx(max(2 * stats.t.sf(t, images - 1), signs))


def test_few_images_prove_little_however_they_agree():
    """One better by the same on each of four images has a t statistic without bound; of signs, one of 16 is so."""
    assert paired_tests(np.array([[1, 1, 1, 1], [0, 0, 0, 0]]))[0, 1] >= 2 / 16
    assert paired_tests(np.array([[2, 3, 4, 5], [1, 2, 3, 4]]), 1000)[0, 1] == 1
    assert paired_tests(np.array([[2], [1]]))[0, 1] == 1
    assert paired_tests(np.array([[2, 2], [2, 2]]))[0, 1] == 1
    assert paired_tests(np.array([[0, 0], [0, 0]]))[0, 1] == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_step_down(p):
    adjusted = holm(np.array(p))
    expected, running = {}, 0.0
    for step, number in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        running = max(running, min(1, (len(p) - step) * p[number]))
        expected[number] = running
    assert adjusted.tolist() == pytest.approx([expected[number] for number in range(len(p))])


def test_all_pairs_are_adjusted_together():
    points = np.random.default_rng(4).binomial(9, [[0.2], [0.4], [0.5], [0.55]], (4, 60))
    p, found = paired_tests(points, 9), adjusted_tests(points, 9)
    pairs = list(itertools.combinations(range(4), 2))
    expected = holm(np.array([p[pair] for pair in pairs]))
    assert [found[pair] for pair in pairs] == expected.tolist()
    assert (found == found.T).all()
    assert (np.diag(found) == 1).all()


def test_a_tier_ends_where_all_above_are_told_from_all_below():
    scores = np.array([10, 40, 30, 38])
    adjusted = np.ones((4, 4))
    for one, other in ((1, 2), (1, 0), (3, 0)):
        adjusted[one, other] = adjusted[other, one] = 0.01
    assert tiers(scores, adjusted) == [1, 1, 1, 1]  # 2 is not told from 3, nor 0 from 2
    assert rank_intervals(scores, adjusted).tolist() == [[3, 4], [1, 2], [2, 4], [1, 3]]
    adjusted[2, 0] = adjusted[0, 2] = 0.01
    assert tiers(scores, adjusted) == [2, 1, 1, 1]
    assert tiers(scores, np.zeros((4, 4))) == [4, 1, 3, 2]
    assert tiers(np.array([3]), np.ones((1, 1))) == [1]
    assert tiers(np.array([], dtype=int), np.ones((0, 0))) == []


@given(st.integers(0, 10_000), st.integers(1, 7))
def test_who_stands_in_different_tiers_was_told_apart(seed, submissions):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 30, submissions)
    adjusted = np.where(generator.random((submissions, submissions)) < 0.9, 0.01, 1)
    adjusted = np.maximum(adjusted, adjusted.T)
    adjusted[scores[:, None] == scores[None, :]] = 1
    found = tiers(scores, adjusted)
    for one, other in itertools.combinations(range(submissions), 2):
        if found[one] != found[other]:
            assert adjusted[one, other] == 0.01
            assert (scores[one] > scores[other]) == (found[one] < found[other])


def test_so_many_images_are_where_the_expected_statistic_reaches_the_bound():
    """Found by trying one size after the other."""
    points = np.random.default_rng(3).binomial(10, [[0.62], [0.5]], (2, 5000))
    differences = points[0] - points[1]
    mean, variance = differences.mean(), differences.var(ddof=1)
    bound = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    sizes = np.arange(1, 2000)
    unseen = UNSEEN_IN_TESTS
    expected = (sizes * mean - unseen * 10) / np.sqrt(sizes * variance + unseen * (10 + mean) ** 2)
    first = sizes[expected >= bound][0] + stats.norm.ppf(0.975) ** 2 / 2
    found = images_to_separate(points, 10)
    assert abs(found[0, 1] - first) <= 1
    assert found[0, 1] == found[1, 0]


def test_nobody_knows_how_many_images_separate_who_is_equal_or_was_seen_once():
    assert np.isinf(images_to_separate(np.ones((2, 9), dtype=int), 1)[0, 1])
    assert np.isinf(images_to_separate(np.array([[1], [0]]), 1)[0, 1])
    assert images_to_separate(np.array([[1] * 9, [0] * 9]), 1)[0, 1] >= 6  # of fewer, no signs are rare enough


# --- stability


def test_ranks_without_an_opponent_are_those_of_the_table_without_it():
    wins = random_wins(seed=23, submissions=5, opponents=4)
    found = ranks_without(wins.by_opponent)
    for left_out in range(4):
        kept = [number for number in range(4) if number != left_out]
        scores = wins.won[:, kept].sum(axis=(1, 2, 3))
        assert found[:, left_out].tolist() == stats.rankdata(-scores, method="min").tolist()


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


def test_strengths_are_those_of_a_logistic_regression():
    """Attack and defense as indicators, one row for each game; the prior is half a game won and half a game lost."""
    generator = np.random.default_rng(31)
    games = generator.integers(5, 60, (5, 4))
    fooled = generator.binomial(games, 0.6)
    found = bradley_terry(fooled, games)
    rows, wins, weights = [], [], []
    for (attack, defense), won in np.ndenumerate(fooled):
        for outcome, count in ((1, won + 0.5), (0, games[attack, defense] - won + 0.5)):
            rows.append(np.concatenate([np.eye(5)[attack], -np.eye(4)[defense]]))
            wins.append(outcome)
            weights.append(count)
    linear_model = pytest.importorskip("sklearn.linear_model")
    fit = linear_model.LogisticRegression(C=1e10, fit_intercept=False, tol=1e-10, max_iter=10_000)
    strengths = fit.fit(np.array(rows), wins, sample_weight=weights).coef_[0]
    strengths -= strengths.mean()
    assert np.concatenate([found.attacks, found.defenses]) == pytest.approx(strengths, abs=1e-4)


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


def test_a_game_is_worth_what_two_learners_end_at():
    """Fictitious play (Brown 1951): each answers best what the other did so far."""
    fooled = np.random.default_rng(37).random((6, 5)).round(2)
    attack, defense = np.zeros(6), np.zeros(5)
    attack[0] = defense[0] = 1
    for _ in range(20_000):
        attack[(fooled @ defense).argmax()] += 1
        defense[(attack @ fooled).argmin()] += 1
    lower, upper = (attack @ fooled).min() / attack.sum(), (fooled @ defense).max() / defense.sum()
    assert upper - lower < 0.02
    assert lower <= solve_game(fooled).value <= upper


def test_a_game_of_two_by_two_is_worth_what_its_formula_says():
    a, b, c, d = 0.2, 0.7, 0.9, 0.4
    found = solve_game(np.array([[a, b], [c, d]]))
    assert found.value == pytest.approx((a * d - b * c) / (a + d - b - c))
    assert found.attacks[0] == pytest.approx((d - c) / (a + d - b - c))
    assert found.defenses[0] == pytest.approx((d - b) / (a + d - b - c))


# --- images


def test_how_hard_images_are():
    correct = np.zeros((2, 1, 2, 4), dtype=bool)
    correct[:, :, :, 0] = True
    correct[:, :, 0, 1] = True
    correct[0, :, :, 2] = True
    assert difficulty(correct).tolist() == [0, 0.5, 0.5, 1]
    known = np.ones_like(correct)
    assert undefended(correct, known).tolist() == [2, 3]
    known[1, :, 1] = False
    assert undefended(correct, known).tolist() == [3]
    assert undefended(correct[:, :, :0], known[:, :, :0]).tolist() == []  # of no defense, none loses


def test_a_label_is_suspected_where_most_agree_on_another():
    clean = np.array([[1, 7, 7, 1], [1, 7, 8, -1], [2, 7, 9, -1]], dtype=np.int32)
    (found,) = label_suspects(clean, np.array([1, 1, 1, 1]))
    assert (found.image, found.label, found.votes) == (1, 7, 3)


# --- the same bytes everywhere

UNROUNDED = """
import hashlib, json, sys
import numpy as np
from harness.statistics import bootstrap, hardest, ranking
sys.path[:0] = ["benchmarks"]
import scoring
scoring.DEFENSES = 30
board = scoring.our_way(scoring.make_table(40, 400, False))()
points = np.random.default_rng(1).integers(0, 625, (150, 3000))
ratios = bootstrap.ratios(points, np.full(3000, 624), bootstrap.draw_images(3000, 1))
arrays = [ratios, ranking.adjusted_tests(points, 624), ranking.images_to_separate(points, 624)]
print(json.dumps([board, [hashlib.sha256(one.tobytes()).hexdigest() for one in arrays]]))
"""


def test_the_number_of_threads_changes_nothing():
    """Sums that are made by a linear algebra library are of whole numbers, exact in any order: to the last bit."""
    boards = []
    for threads in ("1", "2"):
        environment = os.environ | {f"{name}_NUM_THREADS": threads for name in ("OPENBLAS", "OMP", "MKL")}
        done = subprocess.run(
            [sys.executable, "-c", UNROUNDED], cwd=ROOT, env=environment, capture_output=True, check=True
        )
        boards.append(done.stdout)
    assert len(boards[0]) > 10_000
    assert boards[0] == boards[1]


def test_sums_of_drawn_points_are_exact_at_the_size_of_2017_and_beyond():
    """5000 images of 156 attacks at four budgets pass 2**24, from which on float32 leaves out whole numbers."""
    points = np.random.default_rng(1).integers(600, 625, (1, 5000))
    weights = draw_images(5000, seed=1, draws=3)
    exact = [sum(int(weight) * int(point) for weight, point in zip(row, points[0], strict=True)) for row in weights]
    assert min(exact) > 2**24
    assert (points.astype(np.float64) @ weights.T)[0].tolist() == exact
    unseen = GRAIN * stats.gamma.ppf([1 / 6, 3 / 6, 5 / 6], UNSEEN) * 624
    lower = [total / (624 * row.sum() + more) for total, row, more in zip(exact, weights, unseen, strict=True)]
    assert ratios(points, np.full(5000, 624), weights)[0, 1] == pytest.approx(np.quantile(lower, 0.025), rel=1e-12)
