"""The reckoned course of a tournament is what its rules say, call for call, and never better than slots allow nor worse
than any order that leaves no slot idle: who pays for a cluster goes by it."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import simulation
from harness.line import Line
from harness.schedule import MIXED_VERSIONS
from harness.simulation import AttackWork, DefenseWork, Room, simulate

seconds = st.integers(0, 40).map(lambda quarters: quarters / 4)
attack_lists = st.lists(
    st.builds(AttackWork, seconds.map(lambda one: one + 0.5), st.integers(1, 6), st.integers(1, 4), st.booleans()),
    max_size=5,
)
defense_lists = st.lists(
    st.builds(
        DefenseWork, st.builds(Line, seconds, seconds.map(lambda one: one + 0.25)), st.integers(1, 6), st.just(0),
        st.booleans(),
    ),
    max_size=4,
)  # fmt: skip
rooms = st.integers(1, 5).flatmap(lambda slots: st.builds(Room, st.just(slots), st.integers(1, slots)))
clean = st.integers(0, 12)


def reference(attacks, defenses, there, room):
    """(seconds of the whole, of all calls together, number of calls): every call by itself, looked for among all."""
    now, busy, calls, running = 0.0, 0.0, 0, []
    waiting = [work for work in attacks for _ in range(work.calls)]
    to_label = [there - work.known for work in defenses]
    while True:
        while len(running) < room.slots:
            gpus = sum(gpu for _, _, gpu in running)

            def fits(work, taken=gpus):
                return not work.gpu or taken < room.gpus

            able = [number for number, work in enumerate(defenses) if fits(work) and to_label[number]]
            mixed = [number for number in able if to_label[number] >= MIXED_VERSIONS * defenses[number].size]
            attack = next((work for work in waiting if fits(work)), None)
            if mixed or (able and attack is None):
                number = max(mixed or able, key=lambda number: (to_label[number], -number))
                work, images = defenses[number], min(to_label[number], defenses[number].size)
                to_label[number] -= images
                length, new = work.line.at(images), 0
            elif attack is not None:
                work = attack
                waiting.remove(attack)
                length, new = work.seconds, work.images
            else:
                break
            running.append((now + length, new, work.gpu))
            busy, calls = busy + length, calls + 1
        if not running:
            return now, busy, calls
        ended = min(running, key=lambda one: one[0])
        running.remove(ended)
        now = ended[0]
        to_label = [left + ended[1] for left in to_label]


@settings(max_examples=300)
@given(attack_lists, defense_lists, clean, rooms)
def test_it_is_the_course_that_a_plain_play_call_for_call_gives(attacks, defenses, there, room):
    found = simulate(attacks, defenses, there, room)
    whole, busy, calls = reference(attacks, defenses, there, room)
    assert (found.seconds, found.calls) == (pytest.approx(whole), calls)
    assert found.busy == pytest.approx(busy)


@settings(max_examples=200)
@given(attack_lists, defense_lists, clean, st.integers(1, 6))
def test_it_keeps_to_the_bounds_of_list_scheduling(attacks, defenses, there, slots):
    """Graham 1969: at most the work by slots, and of the longest chain what one of several slots leaves."""
    found = simulate(attacks, defenses, there, Room(slots, slots))
    chain = found.longest_attack + found.longest_defense
    assert found.seconds >= max(found.busy / slots, found.longest_attack, found.longest_defense) - 1e-9
    assert found.seconds <= found.busy / slots + (1 - 1 / slots) * chain + 1e-9


@given(attack_lists, defense_lists, clean, rooms)
def test_every_image_is_labelled_by_every_defense_and_every_attack_called(attacks, defenses, there, room):
    found = simulate(attacks, defenses, there, room)
    images = there + sum(work.images * work.calls for work in attacks)
    work = sum(one.seconds * one.calls for one in attacks) + sum(one.line.each * images for one in defenses)
    start_ups = found.start_up  # those of attacks are part of their seconds
    assert found.busy == pytest.approx(work + start_ups)
    assert found.calls >= sum(one.calls for one in attacks) + sum(math.ceil(images / one.size) for one in defenses)


@given(attack_lists, defense_lists, clean)
def test_one_slot_is_never_idle(attacks, defenses, there):
    found = simulate(attacks, defenses, there, Room(1, 1))
    assert found.seconds == pytest.approx(found.busy)


def test_what_a_defense_knows_is_not_asked_again():
    work = [DefenseWork(Line(0, 1), 10, known) for known in (20, 15, 0)]
    found = simulate([], work, 20, Room(1))
    assert (found.calls, found.seconds) == (1 + 2, 25)


def test_no_more_calls_than_gpus_are_on_gpus():
    attacks = [AttackWork(10, 1, 4, True), AttackWork(10, 1, 4, False)]
    found = simulate(attacks, [], 0, Room(8, 1))
    assert (found.seconds, found.busy, found.busy_gpus) == (40, 80, 40)


def test_start_up_of_attacks_is_told_and_is_part_of_their_seconds():
    found = simulate([AttackWork(10, 1, 4, start_up=3)], [DefenseWork(Line(1, 1), 2)], 0, Room(2))
    assert (found.busy, found.start_up) == (40 + 2 + 4, 12 + 2)


@pytest.mark.parametrize("slots", [4, 20])
def test_calls_that_are_reckoned_as_one_give_the_same_to_half_a_percent(monkeypatch, slots):
    attacks = [AttackWork(5 + number, 20, 100, start_up=2) for number in range(30)]
    defenses = [DefenseWork(Line(0.5, 0.01 * number), 20) for number in range(1, 11)]
    fine = simulate(attacks, defenses, 1000, Room(slots))
    monkeypatch.setattr(simulation, "MOST_EVENTS", 5000)
    play = simulation._Play(attacks, defenses, 1000, Room(slots))
    coarse = play.run()
    assert play.events < fine.calls / 3
    assert coarse.calls == fine.calls
    assert coarse.seconds == pytest.approx(fine.seconds, rel=0.005)
    assert coarse.busy == pytest.approx(fine.busy)
