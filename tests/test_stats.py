"""An interval that is too narrow makes a tie look like a victory: intervals have to hold what they say, be the same
for the same answers whoever gave them, and be the same tomorrow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.stats import CONFIDENCE, bootstrap_intervals


def points(rows):
    return np.array(rows, dtype=np.int64)


@st.composite
def tables(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 20)))
    return draw(arrays(np.int64, shape, elements=st.integers(0, 9)))


@given(tables(), st.integers(0, 2**40))
def test_the_same_seed_gives_the_same_bounds(table, seed):
    first = bootstrap_intervals(table, seed, draws=50)
    assert np.array_equal(bootstrap_intervals(table, seed, draws=50), first)


def test_another_seed_gives_others():
    table = points([np.arange(50)])
    assert not np.array_equal(bootstrap_intervals(table, 1), bootstrap_intervals(table, 2))


def test_the_bounds_are_pinned():
    """Leaderboards that were published can be computed again."""
    found = bootstrap_intervals(points([np.arange(20) % 3, np.arange(20) % 2]), 2017)
    assert found.tolist() == [[0.6, 1.3], [0.3, 0.7]]


@given(tables())
def test_submissions_are_resampled_in_pairs(table):
    """The same answers have the same interval in any company, and twice the points have twice the bounds."""
    found = bootstrap_intervals(np.vstack([table, table[0], 2 * table[0]]), 7, draws=50)
    assert np.array_equal(found[0], found[-2])
    assert np.allclose(found[-1], 2 * found[0])
    assert np.allclose(bootstrap_intervals(table[:1], 7, draws=50)[0], found[0])


@given(tables())
def test_bounds_lie_in_order_between_the_extremes(table):
    low, high = bootstrap_intervals(table, 7, draws=50).T
    assert (table.min(axis=1) <= low).all()
    assert (low <= high).all()
    assert (high <= table.max(axis=1)).all()


@given(tables())
def test_one_that_is_better_on_every_image_has_the_higher_bounds(table):
    found = bootstrap_intervals(np.vstack([table[0], table[0] + 1]), 7, draws=50)
    assert np.allclose(found[1], found[0] + 1)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (np.zeros((0, 5)), np.zeros((0, 2))),
        (points([[4]]), [[4, 4]]),
        (points([[0, 0, 0], [2, 2, 2]]), [[0, 0], [2, 2]]),
    ],
    ids=["nobody", "one-image", "no-spread"],
)
def test_degenerate_cases(table, expected):
    assert np.array_equal(bootstrap_intervals(table, 0), expected)


def test_more_confidence_is_a_wider_interval():
    table = points([np.arange(50) % 7])
    narrow, wide = (bootstrap_intervals(table, 0, confidence=level)[0] for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < table.mean() < narrow[1] < wide[1]


def test_the_width_is_that_of_the_normal_approximation():
    """200 images, half of them won: a share of 0.5 with a standard error of 0.0354."""
    ((low, high),) = bootstrap_intervals(points([np.arange(200) % 2]), 0, draws=20_000)
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 200) ** 0.5, rel=0.05)
    assert (low + high) / 2 == pytest.approx(0.5, abs=0.01)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(0)
    table = (generator.random((400, 100)) < 0.3).astype(np.int64)
    low, high = bootstrap_intervals(table, 0).T
    held = ((low <= 0.3) & (high >= 0.3)).mean()
    assert CONFIDENCE - 0.05 < held < CONFIDENCE + 0.03
