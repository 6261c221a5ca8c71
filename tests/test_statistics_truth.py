"""On tables that are drawn from a known truth, intervals hold as often as they say and equal submissions are separated
as rarely as is said. The tables are those of `benchmarks/coverage.py`, which runs many more of them; here each bound
leaves room for four standard deviations of chance, and the seeds are fixed.
"""

import importlib.util

import numpy as np
import pytest
from helpers import ROOT
from scipy import stats

from harness.statistics.bootstrap import UNSEEN, draw_images, ratios
from harness.statistics.ranking import adjusted_tests, paired_tests, tiers


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", ROOT / "benchmarks" / "coverage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chance(probability, tables):
    """Four standard deviations of a share of so many tables."""
    return 4 * np.sqrt(probability * (1 - probability) / tables)


CASES = [
    ("score", 10, 0.5, 1.0),
    ("score", 150, 0.9, 3.0),
    ("score", 10, 0.99, 3.0),
    ("clean accuracy", 1, 0.5, 1.0),
    ("clean accuracy", 1, 0.99, 1.0),
    ("success where clean is correct", 10, 0.5, 3.0),
    ("one budget of `rotate`", 10, 0.9, 1.0),
    ("difference of two", 10, 0.9, 1.0),
]


@pytest.mark.parametrize(("kind", "opponents", "share", "spread"), CASES)
def test_with_a_thousand_images_an_interval_holds_in_93_to_97_of_100_tables(coverage, kind, opponents, share, spread):
    tables = 400
    held, _, _ = coverage.interval_coverage(kind, 1000, opponents, share, spread, tables)
    assert 0.93 - chance(0.93, tables) <= held <= 0.97 + chance(0.97, tables)


@pytest.mark.parametrize("images", [20, 100])
@pytest.mark.parametrize(("kind", "opponents", "share", "spread"), CASES)
def test_with_few_images_an_interval_holds_at_least_as_often(coverage, kind, opponents, share, spread, images):
    tables = 1000
    held, usual, width = coverage.interval_coverage(kind, images, opponents, share, spread, tables)
    assert held >= 0.95 - chance(0.95, tables)
    assert held >= usual - chance(0.95, tables)
    assert width < 1.1


def test_the_usual_interval_fails_where_ours_holds(coverage):
    """Of 20 images a defense with a clean accuracy of 0.99 mostly has all right; their bootstrap has no width."""
    held, usual, _ = coverage.interval_coverage("clean accuracy", 20, 1, 0.99, 1.0, 1000)
    assert usual < 0.3
    assert held > 0.95


@pytest.mark.parametrize("won", [0, 20])
def test_all_or_nothing_of_twenty_images_leaves_room(won):
    low, high = ratios(np.arange(20)[None] < won, np.ones(20), draw_images(20, seed=1))[0, 1:]
    assert high - low == pytest.approx(0.116, abs=0.02)  # a beta(20, 0.5)'s


@pytest.mark.parametrize("images", [20, 100, 1000])
def test_with_one_opponent_an_interval_holds_in_95_of_100_tables_on_average_and_in_89_at_the_least(images):
    """Exactly, over all counts: `test_statistics` shows that its ends are these quantiles. About 2.5 images lost, or
    won, is where it holds most rarely."""
    won = np.arange(images + 1)
    lower = np.where(won > 0, stats.beta.ppf(0.025, np.maximum(won, 1), images - won + UNSEEN), 0)
    upper = np.where(won < images, stats.beta.ppf(0.975, won + UNSEEN, np.maximum(images - won, 1)), 1)
    shares = (np.arange(2000) + 0.5) / 2000
    held = np.array([stats.binom.pmf(won, images, each)[(lower <= each) & (each <= upper)].sum() for each in shares])
    assert held.min() >= 0.89
    assert 0.95 <= held.mean() <= 0.97
    if images < 1000:  # there the grid is too coarse
        assert 2.3 < images * min(shares[held.argmin()], 1 - shares[held.argmin()]) < 2.6


@pytest.mark.parametrize(("opponents", "images"), [(5, 20), (50, 20), (50, 100), (5, 1000)])
@pytest.mark.parametrize("field", ["tied", "one hardest", "graded"])
def test_the_worst_case_is_held_whoever_is_the_hardest(coverage, field, opponents, images):
    tables = 100
    held, _, _, _ = coverage.worst_case_coverage(field, images, opponents, 0.4, 1, tables)
    assert held >= 0.95 - chance(0.95, tables)


def test_the_least_of_many_shares_is_too_low_and_its_usual_interval_never_holds(coverage):
    held, usual, _, error = coverage.worst_case_coverage("tied", 100, 50, 0.4, 1, 100)
    assert error < -0.05
    assert usual < 0.1
    assert held > 0.9


@pytest.mark.parametrize("images", [20, 100, 1000])
@pytest.mark.parametrize("submissions", [2, 8, 30])
@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_equal_submissions_are_told_apart_in_at_most_one_of_twenty_tables(coverage, submissions, images, alike):
    tables, generator = 200, np.random.default_rng([submissions, images, int(10 * alike)])
    points = (coverage.equal_points(generator, submissions, images, 4, 0.7, alike) for _ in range(tables))
    apart, tiered = coverage.false_separations(points, 4)
    assert apart <= 0.05 + chance(0.05, tables)
    assert tiered <= apart


@pytest.mark.parametrize("images", [20, 100, 1000])
def test_equal_ones_that_win_in_different_ways_are_not_told_apart_either(coverage, images):
    """One wins all on few images, the other a little on all: differences are skewed, and a plain t-test fails."""
    tables, generator = 300, np.random.default_rng(images)
    apart, _ = coverage.false_separations((coverage.unlike_points(generator, 8, images) for _ in range(tables)), 10)
    assert apart <= 0.05 + chance(0.05, tables)


@pytest.mark.parametrize(("opponents", "images"), [(20, 60), (20, 80), (100, 200), (100, 300), (100, 420), (150, 740)])
@pytest.mark.parametrize(("submissions", "most"), [(2, 0.05), (8, 0.06), (30, 0.102)])
def test_who_wins_all_on_few_images_is_hardly_told_from_its_equal_that_wins_a_little_on_each(
    submissions, most, opponents, images
):
    """Exactly: half of them beat the same one opponent on every image, half all opponents at once on as small a share.
    A few more images of the latter than expected, or fewer, decide; the pairs are those of both halves."""
    counts = np.arange(images + 1)
    all_or_none = opponents * (np.arange(images) < counts[:, None])
    p = paired_tests(np.vstack([all_or_none, np.ones((1, images), dtype=int)]), opponents)[-1, :-1]
    told = p <= 0.05 / (submissions * (submissions - 1) / 2)
    apart = 1 - (1 - stats.binom.pmf(counts, images, 1 / opponents)[told].sum()) ** (submissions // 2)
    assert apart <= most


def test_a_better_one_above_two_equal_ones_does_not_separate_these(coverage):
    """Who may be told from the best, and its equal may not: neither does that put them into different tiers."""
    generator, separated, split = np.random.default_rng(41), 0, 0
    levels = np.array([coverage.level(share, 1.5) for share in (0.57, 0.5, 0.5)])[:, None]
    for _ in range(400):
        chances = 1 / (1 + np.exp(-(levels + 1.5 * generator.standard_normal(150))))
        points = generator.binomial(4, chances)
        adjusted = adjusted_tests(points, 4)
        found = tiers(points.sum(axis=1), adjusted)
        separated += found[1] != found[2]
        split += (adjusted[0, 1] <= 0.05) != (adjusted[0, 2] <= 0.05)
    assert split > 40
    assert separated <= 400 * (0.05 + chance(0.05, 400))


@pytest.mark.parametrize(("submissions", "images", "gap"), [(8, 100, 0.05), (8, 1000, 0.05), (30, 1000, 0.01)])
def test_all_rank_intervals_hold_at_once(coverage, submissions, images, gap):
    tables = 200
    held, width = coverage.rank_coverage(submissions, images, gap, tables)
    assert held >= 0.95 - chance(0.95, tables)
    assert width < submissions - 1


@pytest.mark.parametrize(("better", "worse", "opponents"), [(0.9, 0.6, 1), (0.6, 0.5, 10), (0.99, 0.97, 1)])
def test_as_many_images_as_are_asked_for_tell_two_apart(coverage, better, worse, opponents):
    tables = 600
    needed, told = coverage.power(better, worse, opponents, tables)
    assert told >= 0.8 - chance(0.8, tables)
    assert needed < 1000
