"""A slot is a share of the machine that one call has to itself: never two calls in one slot, never a slot lost to an
error, and nothing is left running after close."""

import threading
import time

import pytest
from helpers import FakeSandbox, make_player
from hypothesis import given
from hypothesis import strategies as st

from harness.executors.local import LocalExecutor, count_slots, share_out
from harness.plan import defense_call
from harness.records import Slot
from harness.sandbox import CallStoppedError


def call(number=0):
    return defense_call(make_player(name=str(number)), [f"image {number}"], 100)


def slots(count):
    return [Slot(number, (number,)) for number in range(count)]


def test_results_and_errors_come_back_with_their_calls():
    def play(call, slot, stop):
        if call.unit.key == bad.unit.key:
            raise ZeroDivisionError("no")
        return f"played {call.label}"

    good, bad = call(1), call(2)
    executor = LocalExecutor(slots(2), play, FakeSandbox())
    executor.submit(good)
    executor.submit(bad)
    ended = {call.unit.key: result for call, result in (executor.wait(30), executor.wait(30))}
    executor.close()
    assert ended[good.unit.key] == f"played {good.label}"
    assert isinstance(ended[bad.unit.key], ZeroDivisionError)


def test_a_slot_is_free_again_after_its_call_however_it_ended():
    def play(call, slot, stop):
        raise ZeroDivisionError

    executor = LocalExecutor(slots(1), play, FakeSandbox())
    for number in range(5):
        assert (executor.free_slots, executor.running) == (1, ())
        executor.submit(call(number))
        assert executor.free_slots == 0
        assert [one.label for one in executor.running] == [call(number).label]
        assert executor.wait(30)
    executor.close()


def test_no_slot_holds_two_calls_at_once():
    held, lock, doubles = set(), threading.Lock(), []

    def play(call, slot, stop):
        with lock:
            doubles.extend(held & {slot.number})
            held.add(slot.number)
        time.sleep(0.001)
        with lock:
            held.discard(slot.number)

    executor, used = LocalExecutor(slots(3), play, FakeSandbox()), 0
    for number in range(60):
        while not executor.free_slots:
            assert executor.wait(30)
            used += 1
        executor.submit(call(number))
    while executor.running:
        assert executor.wait(30)
        used += 1
    executor.close()
    assert used == 60
    assert doubles == []


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_waiting_ends_in_time_and_the_call_goes_on(seconds):
    """A signal, a due retry, and the clock on the screen do not wait for a call of ten minutes."""
    go_on = threading.Event()
    executor = LocalExecutor(slots(1), lambda call, slot, stop: go_on.wait(30), FakeSandbox())
    executor.submit(call())
    for _ in range(3):
        assert executor.wait(seconds) is None
        assert (executor.free_slots, len(executor.running)) == (0, 1)
    go_on.set()
    assert executor.wait(30) is not None
    assert (executor.free_slots, executor.running) == (1, ())
    assert executor.wait(seconds) is None
    executor.close()


def test_closing_stops_what_is_under_way_and_waits_for_it():
    stopped = []

    def play(call, slot, stop):
        assert stop.wait(30)
        time.sleep(0.02)
        stopped.append(slot.number)
        raise CallStoppedError("stopped")

    executor = LocalExecutor(slots(3), play, FakeSandbox())
    for number in range(3):
        executor.submit(call(number))
    executor.close()
    assert sorted(stopped) == [0, 1, 2]


def test_closing_twice_or_before_the_first_call_is_fine():
    executor = LocalExecutor(slots(2), lambda call, slot, stop: None, FakeSandbox())
    executor.close()
    executor.close()


def test_it_asks_the_sandbox_whether_it_answers_and_to_clean_up_even_when_it_is_closed():
    sandbox = FakeSandbox()
    executor = LocalExecutor(slots(1), lambda call, slot, stop: None, sandbox)
    executor.check()
    executor.close()
    assert (sandbox.checks, executor.sweep()) == (1, sandbox.sweep())


# --- sharing out


@pytest.mark.parametrize(
    ("slots", "cores", "gpus", "expected"),
    [
        (1, [0, 1, 2, 3], [], [((0, 1, 2, 3), None)]),
        (2, [0, 1, 2, 3], [], [((0, 1), None), ((2, 3), None)]),
        (4, [4, 5, 6, 7], [], [((4,), None), ((5,), None), ((6,), None), ((7,), None)]),
        (2, [0, 1, 2], [], [((0,), None), ((1,), None)]),
        (3, [0, 1], [], [((0,), None), ((1,), None), ((0,), None)]),
        (2, [0, 1], ["A", "B"], [((0,), "A"), ((1,), "B")]),
        (3, [0, 1, 2], ["A", "B"], [((0,), "A"), ((1,), "B"), ((2,), "A")]),
    ],
)
def test_who_gets_what(slots, cores, gpus, expected):
    assert [(slot.cores, slot.gpu) for slot in share_out(slots, cores, gpus)] == expected


@pytest.mark.parametrize(
    ("slots", "cores", "cpus", "expected"),
    [
        (2, [0, 1, 2, 3], 1, [(0,), (1,)]),
        (2, [0, 1, 2, 3], 2, [(0, 1), (2, 3)]),
        (2, [0, 1, 2, 3], 3, [(0, 1, 2), (3, 0, 1)]),
        (3, [4, 5], 1, [(4,), (5,), (4,)]),
        (2, [0, 1], 16, [(0, 1), (0, 1)]),
    ],
    ids=["fewer-than-fair", "fair", "overlapping", "more-slots", "more-than-there-are"],
)
def test_every_slot_has_the_cores_that_are_asked_for(slots, cores, cpus, expected):
    assert [slot.cores for slot in share_out(slots, cores, [], cpus)] == expected


@given(st.integers(1, 20), st.sets(st.integers(0, 63), min_size=1, max_size=20), st.integers(1, 30))
def test_a_number_of_cores_does_not_depend_on_the_other_slots(count, cores, cpus):
    """The number of threads decides the last bits of a sum: the same submission must get the same everywhere."""
    cores = sorted(cores)
    for slot in share_out(count, cores, [], cpus):
        assert len(slot.cores) == len(set(slot.cores)) == min(cpus, len(cores))
        assert set(slot.cores) <= set(cores)


@given(st.integers(1, 20), st.sets(st.integers(0, 63), min_size=1, max_size=20), st.integers(0, 3))
def test_shares_are_equal_and_disjoint_as_far_as_cores_go(count, cores, gpus):
    cores = sorted(cores)
    shares = share_out(count, cores, [f"GPU{number}" for number in range(gpus)])
    assert [slot.number for slot in shares] == list(range(count))
    assert len({len(slot.cores) for slot in shares}) == 1
    used = [core for slot in shares for core in slot.cores]
    assert set(used) <= set(cores)
    assert len(set(used)) == min(len(used), len(cores))
    assert all((slot.gpu is None) is (gpus == 0) for slot in shares)


@pytest.mark.parametrize(
    ("cores", "gpus", "memory", "cpus", "expected"),
    [
        (8, 0, 64, None, 8),
        (8, 0, 64, 2, 4),
        (8, 0, 64, 3, 2),
        (8, 0, 64, 16, 1),
        (8, 0, 16, None, 4),
        (8, 0, 3, None, 1),
        (8, 2, 64, None, 2),
        (8, 2, 4, None, 1),
        (1, 4, 64, None, 4),
    ],
)
def test_how_many_calls_fit_side_by_side(cores, gpus, memory, cpus, expected):
    """Memory in GiB, four of them for each call."""
    assert count_slots(cores, gpus, memory << 30, 4 << 30, cpus) == expected
