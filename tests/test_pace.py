"""What a call will take is told from calls that were made: start-up and seconds for each image come back from calls of
a known rule, a few wild ones do not move them, and what nobody measured is never told as if it were."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.line import LEVER, Line, fit
from harness.pace import MOST_BATCHES, PIECES, RECENT, SMALL_SHARE, SUCCESSES, Pace
from harness.records import Role, Verdict

DEFENSE, ATTACK = Role.DEFENSE, Role.ATTACK

lines = st.tuples(st.floats(0.05, 100), st.floats(0.001, 10))
sizes = st.lists(st.integers(1, 400), min_size=2, max_size=40, unique=True).filter(
    lambda found: max(found) >= LEVER * min(found)
)


def pace_of(fixed, each, sizes, *, noise=0.0, wild=0.0, seed=0, player="p", role=DEFENSE, verdict=Verdict.OK):
    """A pace that saw calls of these sizes, seconds off by up to `noise`, a share of `wild` ten times too long."""
    generator, pace = random.Random(seed), Pace()
    for size in sizes:
        factor = 10 if generator.random() < wild else generator.uniform(1 - noise, 1 + noise)
        pace.learn(player, role, size, (fixed + each * size) * factor, verdict)
    return pace


# --- lines


@given(lines, sizes)
def test_what_is_a_line_is_found_again(line, sizes):
    fixed, each = line
    found = pace_of(fixed, each, sizes).line("p", DEFENSE)
    assert (found.fixed, found.each) == (pytest.approx(fixed, rel=1e-6, abs=1e-6), pytest.approx(each, rel=1e-6))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("fixed", "each"), [(5.0, 0.1), (2.0, 0.02), (20.0, 0.05)])
def test_noise_and_wild_calls_move_a_line_by_less_than_a_tenth(fixed, each, seed):
    """Off by up to 5 %, and one in ten takes ten times as long."""
    sizes = [100] * 30 + [50] * 30 + [200] * 30
    found = pace_of(fixed, each, random.Random(seed).sample(sizes, 90), noise=0.05, wild=0.1, seed=seed)
    line = found.line("p", DEFENSE)
    assert line.at(100) == pytest.approx(fixed + each * 100, rel=0.05)
    assert line.fixed == pytest.approx(fixed, rel=0.1, abs=0.1 * (fixed + each * 100))
    assert line.each == pytest.approx(each, rel=0.1, abs=0.1 * (fixed / 100 + each))


@given(st.dictionaries(st.integers(1, 500), st.lists(st.floats(0, 1e6), min_size=1, max_size=4), min_size=1))
def test_no_line_is_negative(seconds):
    found = fit(seconds)
    assert (found is None) == (max(seconds) < LEVER * min(seconds))
    if found:
        assert found.fixed >= 0
        assert found.each >= 0
        assert found.at(100) <= 100 * max(max(one) for one in seconds.values())


def test_calls_of_one_size_do_not_tell_start_up_and_the_role_does():
    pace = pace_of(0, 1, [10])
    assert pace.line("p", DEFENSE) == Line(0, 1)
    for size in (10, 20):
        for player in ("q", "r"):
            pace.learn(player, DEFENSE, size, 30 + size, Verdict.OK)
    found = pace.line("p", DEFENSE)
    assert found.at(10) == pytest.approx(10)
    assert found.fixed > 0


def test_a_player_is_taken_for_the_median_of_its_role_and_of_no_other():
    pace = Pace()
    for player, seconds in (("a", 1), ("b", 2), ("c", 300)):
        pace.learn(player, ATTACK, 10, seconds, Verdict.OK)
    assert pace.seconds("new", ATTACK, 10) == pytest.approx(2)
    assert pace.seconds("new", DEFENSE, 10) is None
    assert not pace.knows("new")


def test_a_machine_that_became_slower_is_noticed():
    pace = pace_of(0, 1, [10] * 100)
    for _ in range(100):
        pace.learn("p", DEFENSE, 10, 30, Verdict.OK)
    assert pace.seconds("p", DEFENSE, 10) == pytest.approx(30)


def test_many_calls_are_not_kept():
    pace = pace_of(1, 1, [number % 50 + 1 for number in range(10_000)])
    (history,) = pace._players.values()
    assert sum(map(len, history._seconds.values())) <= 50 * RECENT


def test_a_call_without_images_tells_nothing():
    assert Pace().seconds("p", DEFENSE, 1) is None
    assert not pace_of(1, 1, [0]).knows("p")


# --- spread


def test_the_spread_is_that_of_the_calls():
    pace = Pace()
    for number in range(1, RECENT + 1):
        pace.learn("p", DEFENSE, 10, number, Verdict.OK)
    found = pace.estimate("p", DEFENSE, 10, 500)
    assert (found.low, found.likely, found.high, found.measured) == (2, 8, 14, True)


def test_where_start_up_is_not_known_a_larger_call_may_cost_nothing_more_or_all_in_proportion():
    found = pace_of(0, 1, [10]).estimate("p", DEFENSE, 30, 500)
    assert (found.low, found.high) == (pytest.approx(10), pytest.approx(30))


def test_who_was_not_measured_may_be_the_quickest_or_the_slowest_of_its_role():
    pace = Pace()
    for player, seconds in (("a", 1), ("b", 2), ("c", 300)):
        pace.learn(player, ATTACK, 10, seconds, Verdict.OK)
    found = pace.estimate("new", ATTACK, 10, 200)
    assert (found.low, found.likely, found.high, found.measured) == (1, 2, 200, False)


def test_where_nothing_is_known_there_is_a_limit_and_no_guess():
    found = Pace().estimate("p", ATTACK, 10, 500)
    assert (found.low, found.likely, found.high, found.measured) == (0, None, 500, False)


@given(lines, sizes, st.integers(1, 500), st.floats(0.1, 1e4), st.floats(0, 0.9))
def test_an_estimate_is_in_order_and_within_the_limit(line, sizes, images, limit, noise):
    found = pace_of(*line, sizes, noise=noise).estimate("p", DEFENSE, images, limit)
    assert 0 <= found.low <= found.likely <= found.high <= limit


# --- seconds to go


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 5)), min_size=1, max_size=5), st.integers(1, 8))
def test_what_remains_is_the_work_by_slots_or_the_longest_call(left, slots):
    pace = pace_of(5, 1, [10, 20])
    rows = [("p", DEFENSE, images * calls, calls) for images, calls in left]
    work = sum(calls * (5 + images) for images, calls in left)
    longest = max(5 + images for images, _ in left)
    assert pace.remaining(rows, slots) == pytest.approx(max(work / slots, longest))


def test_what_remains_is_not_told_before_anything_is_known():
    pace = pace_of(5, 1, [10, 20])
    assert pace.remaining([("a", ATTACK, 10, 1)], 2) is None
    assert pace.remaining([("a", ATTACK, 0, 0)], 2) == 0


# --- size of calls


def grown(pace, fixed, each, batch, calls=40):
    """The sizes, in batches, of calls that go on as `batches` says."""
    found = []
    for _ in range(calls):
        found.append(pace.batches("p", batch))
        images = found[-1] * batch
        pace.learn("p", DEFENSE, images, fixed + each * images, Verdict.OK)
    return found


@settings(max_examples=50)
@given(lines, st.integers(1, 200))
def test_calls_grow_by_doubling_to_where_start_up_is_small(line, batch):
    fixed, each = line
    pace = Pace()
    found = grown(pace, fixed, each, batch)
    assert found[: SUCCESSES + 1] == [1] * SUCCESSES + [2]
    assert all(after <= LEVER * before for before, after in pairwise(found))
    last = found[-1]
    assert last == pace.batches("p", batch, eventually=True) <= MOST_BATCHES
    share = fixed / (fixed + each * batch * last)
    assert share <= SMALL_SHARE + 1e-6 or last == MOST_BATCHES
    assert last == 1 or fixed / (fixed + each * batch * (last - 1)) >= SMALL_SHARE - 1e-6


def test_a_call_stays_a_batch_where_start_up_is_small_and_before_anything_succeeded():
    assert grown(Pace(), 1, 1, 100)[-1] == 1
    assert Pace().batches("p", 100) == 1
    assert pace_of(50, 0.01, [100] * 20, verdict=Verdict.TIMEOUT).batches("p", 100) == 1


def test_towards_the_end_calls_are_small_again():
    pace = Pace()
    grown(pace, 50, 0.01, 100)
    assert [pace.batches("p", 100, left) for left in (1e9, PIECES * 800, PIECES * 799, PIECES * 200, 5)] == [
        8,
        8,
        7,
        2,
        1,
    ]


@pytest.mark.parametrize("verdict", [one for one in Verdict if one is not Verdict.OK])
def test_one_failure_ends_it_for_good(verdict):
    pace = Pace()
    assert grown(pace, 50, 0.01, 100)[-1] == MOST_BATCHES
    pace.learn("p", DEFENSE, 800, 60, verdict)
    assert set(grown(pace, 50, 0.01, 100)) == {1}
