"""The order of attacks decides how long slots stand idle at the end: whoever is not measured is measured first, what is
long does not begin last, and else what gives the defenses most to do for its time comes first."""

import pytest
from helpers import make_player
from hypothesis import given
from hypothesis import strategies as st

from harness.order import LONG, Order, urgency
from harness.pace import Pace
from harness.records import Role, Verdict

PLAYERS = [make_player("attack", f"a{number}", digest=f"{number}" * 64) for number in range(5)]


def order_of(seconds):
    """Attacks of which the first so many are measured with these seconds for a batch of 100."""
    pace = Pace()
    for player, one in zip(PLAYERS, seconds, strict=False):
        pace.learn(player.key, Role.ATTACK, 100, one, Verdict.OK)
    return pace, Order(pace, PLAYERS, 100)


def test_who_is_not_measured_goes_first_then_the_long_ones_then_the_quick_ones():
    rest = 1000.0
    limit = LONG * rest
    ranked = [(None, 100), (4 * limit, 100), (limit + 1, 100), (limit / 9, 100), (limit / 8, 100), (limit / 7, 50)]
    shuffled = ranked[3:] + ranked[:3]
    assert sorted(shuffled, key=lambda one: urgency(*one, rest)) == ranked


def test_each_that_is_not_measured_is_called_once_before_any_is_called_twice():
    _, order = order_of([1, 2])
    everybody = range(5)
    assert [order.choose(everybody, 1e6) for _ in range(3)] == [2, 3, 4]
    assert order.choose(everybody, 1e6) == 0


def test_nobody_is_measured_and_nobody_is_left_out():
    _, order = order_of([])
    assert sorted(order.choose(range(5), 1e6) for _ in range(5)) == [0, 1, 2, 3, 4]


def test_only_those_that_have_calls_left_are_chosen():
    _, order = order_of([5, 4, 3, 2, 1])
    assert order.choose([0, 1, 2], 1e6) == 2


def test_what_was_learned_counts_at_once():
    pace, order = order_of([5, 4, 3, 2, 1])
    assert order.choose(range(5), 1e6) == 4
    for _ in range(50):
        pace.learn(PLAYERS[4].key, Role.ATTACK, 100, 60, Verdict.OK)
    order.learned(4)
    assert order.choose(range(5), 1e6) == 3


@given(
    st.lists(st.floats(0.1, 1e4), min_size=5, max_size=5, unique=True),
    st.lists(st.floats(1, 1e6), min_size=1, max_size=8),
)
def test_it_is_the_most_urgent_of_all_however_the_rest_changes(seconds, rests):
    _, order = order_of(seconds)
    for rest in rests:
        chosen = order.choose(range(5), rest)
        assert urgency(seconds[chosen], 100, order._rest) == min(urgency(one, 100, order._rest) for one in seconds)
        assert order._rest == pytest.approx(rest, rel=0.12)
