"""Somebody decides by a forecast whether to pay for a cluster: what was measured is used, what was not is named and
never made up, and what the machines cannot do is said before."""

import re

import pytest
from helpers import make_player
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cluster import Cluster, make_room, read_cluster
from harness.errors import UserError
from harness.forecast import Todo, forecast, spell
from harness.pace import MOST_BATCHES, Pace
from harness.records import Limits, Role, Verdict
from harness.simulation import Room

GIB = 1 << 30


def players(role, count):
    letter = role[0]
    return [make_player(role, f"{letter}{number}", digest=f"{letter}{number}" * 32) for number in range(count)]


ATTACKS, DEFENSES = players("attack", 3), players("defense", 2)
KEYS = [player.key for player in (*ATTACKS, *DEFENSES)]


def todo(calls=4, *, unlabelled=100, attacks=ATTACKS, defenses=DEFENSES):
    """Each attack has so many calls of 100 images."""
    left = tuple((player, (100,) * calls) for player in attacks)
    return Todo(left, tuple((player, unlabelled) for player in defenses), 100, 100)


def pace_of(seconds, sizes=(50, 100), times=10, verdict=Verdict.OK):
    """name -> (start-up, seconds for an image), learnt from calls of two sizes."""
    found = Pace()
    for player in (*ATTACKS, *DEFENSES):
        for size in sizes * times if player.name in seconds else ():
            fixed, each = seconds[player.name]
            found.learn(player.key, player.submission.role, size, fixed + each * size, verdict)
    return found


EVERYBODY = {"a0": (1, 0.5), "a1": (1, 0.1), "a2": (2, 1), "d0": (1, 0.2), "d1": (0.5, 0.1)}


def foretell(left=None, pace=None, room=None, limits=None, gpus=()):
    left, pace = left or todo(), pace_of(EVERYBODY) if pace is None else pace
    with_gpu = {player.key: player.name in gpus for player in (*ATTACKS, *DEFENSES)}
    return forecast(left, pace, room or Room(4), limits or Limits(), with_gpu)


# --- what is expected


def test_one_slot_takes_as_long_as_all_calls_together():
    found = foretell(room=Room(1))
    images = 100 + 3 * 4 * 100
    work = 4 * (51 + 11 + 102) + images * 0.3 + images / 100 * 1.5
    assert found.likely == pytest.approx(work)
    assert (found.low, found.high) == (pytest.approx(work), pytest.approx(work))
    assert (found.guessed, found.unknown) == ((), ())


def test_what_is_known_costs_nothing():
    found = foretell(todo(0, unlabelled=0))
    assert (found.low, found.likely, found.high, found.timeline.calls) == (0, 0, 0, 0)
    assert "nothing left to call" in found.holding_up


def test_a_defense_that_has_labelled_more_has_less_to_do():
    left = Todo((), ((DEFENSES[0], 100), (DEFENSES[1], 30)), 100, 100)
    assert foretell(left, room=Room(1)).likely == pytest.approx(1 + 0.2 * 100 + 0.5 + 0.1 * 30)


def test_long_calls_are_reckoned_as_beginning_first_as_the_runner_begins_them():
    alike = dict.fromkeys(EVERYBODY, (1, 0.1))
    long_last = alike | {"a2": (1, 2)}
    found = foretell(todo(2, defenses=()), pace_of(long_last), Room(3))
    assert found.likely == pytest.approx(201)


def test_who_was_not_measured_is_named_and_makes_it_a_range():
    known = {name: cost for name, cost in EVERYBODY.items() if name != "a0"}
    found = foretell(pace=pace_of(known))
    assert (found.guessed, found.unknown) == (("a0",), ())
    assert found.low < found.likely < found.high


def test_where_nothing_is_measured_there_is_no_likely_course_and_the_limit_bounds_it():
    known = {name: cost for name, cost in EVERYBODY.items() if name[0] == "d"}
    found = foretell(pace=pace_of(known), room=Room(1), limits=Limits(seconds=200))
    assert (found.likely, found.unknown) == (None, ("a0", "a1", "a2"))
    images = 100 + 3 * 4 * 100
    labelling = images * 0.3 + images / 100 * 1.5
    assert found.low == pytest.approx(labelling)
    assert found.high == pytest.approx(labelling + 12 * 200)


def test_who_has_nothing_to_do_need_not_be_measured():
    known = {name: cost for name, cost in EVERYBODY.items() if name[0] == "d"}
    assert foretell(todo(0), pace=pace_of(known)).unknown == ()


def test_large_calls_are_reckoned_with_where_start_up_is_most_of_a_call():
    slow_start = EVERYBODY | {"d0": (100, 0.01), "d1": (100, 0.01)}
    left = Todo(todo(10).attacks, todo(unlabelled=1000).defenses, 1000, 100)
    images = 1000 + 3 * 10 * 100
    found = foretell(left, pace_of(slow_start), Room(1))
    calls = found.timeline.calls - 3 * 10
    assert calls == 2 * images / 100 / MOST_BATCHES
    failed = pace_of({name: slow_start[name] for name in ("d0", "d1")}, verdict=Verdict.TIMEOUT)
    for player in ATTACKS:
        failed.learn(player.key, Role.ATTACK, 100, 1, Verdict.OK)
    assert foretell(left, failed, Room(1)).timeline.calls == 3 * 10 + 2 * images / 100


costs = st.tuples(st.floats(0, 50), st.floats(0.001, 1))


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(dict.fromkeys(EVERYBODY, costs)),
    st.integers(1, 30),
    st.sets(st.sampled_from(list(EVERYBODY))),
)
def test_a_forecast_is_in_order_and_never_below_what_slots_allow(seconds, slots, gpus):
    found = foretell(pace=pace_of(seconds), room=Room(slots, max(1, slots // 2)), gpus=gpus)
    assert 0 <= found.low <= found.likely <= found.high
    assert found.likely >= found.timeline.busy / slots - 1e-6


# --- what holds it up


@pytest.mark.parametrize(
    ("seconds", "room", "gpus", "words"),
    [
        (EVERYBODY, Room(2), (), r"slots, busy \d+ % of the time; \d+ % of the work is a2"),
        (EVERYBODY, Room(64, 2), EVERYBODY, r"GPUs, busy \d+ % of the time"),
        (EVERYBODY | {"a0": (1, 50)}, Room(64), (), r"one slow player: a single call of a0 takes 83 min 21 s"),
        (dict.fromkeys(EVERYBODY, (30, 0.01)), Room(2), (), r"starting: 97 % of the time of all calls is start-up"),
    ],
    ids=["slots", "gpus", "one-player", "start-up"],
)
def test_what_holds_it_up_is_named(seconds, room, gpus, words):
    assert re.match(words, foretell(pace=pace_of(seconds), room=room, gpus=gpus, limits=Limits(1e6)).holding_up)


def test_gpu_memory_is_named_where_it_is_what_shares_out_gpus():
    limits = Limits(gpu_memory=30 * GIB)
    found = foretell(room=Room(64, 2), gpus=EVERYBODY, limits=limits)
    assert found.holding_up.startswith("GPU memory (limits.gpu_memory is 30720 MiB), busy")


# --- the cluster


def test_a_cluster_is_read():
    found = read_cluster("nodes=32, gpus=8,cpus=64,memory=256 GiB,gpu_memory=80GiB,price=2.5")
    assert found == Cluster(nodes=32, gpus=8, cpus=64, memory=256 * GIB, gpu_memory=80 * GIB, price=2.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no KEY=VALUE"),
        ("nodes", "'nodes' is no KEY=VALUE"),
        ("nodes=1,nodes=2", "a key twice"),
        ("gpus=8", "nodes: required key is missing"),
        ("nodes=0", "nodes: should be greater than or equal to 1"),
        ("nodes=two", "nodes: should be a valid integer"),
        ("nodes=2,gpu=8", "gpu: unknown key; did you mean gpus?"),
        ("nodes=2,cpus=0", "cpus: should be greater"),
        ("nodes=2,memory=much", "memory: is a number of bytes"),
        ("nodes=2,price=nan", "price: should be a finite number"),
        ("nodes=2,price=-1", "price: should be greater"),
    ],
)
def test_a_cluster_that_is_none_is_refused_in_one_line(text, words):
    with pytest.raises(UserError) as caught:
        read_cluster(text)
    (line,) = caught.value.faults
    assert line.startswith("--cluster: ")
    assert words in line


@pytest.mark.parametrize(
    ("cluster", "limits", "room"),
    [
        ("nodes=4,cpus=8", {}, Room(32)),
        ("nodes=4,cpus=8", {"cpus": 3}, Room(8)),
        ("nodes=4,cpus=8,memory=9 GiB", {"memory": 4 * GIB}, Room(8)),
        ("nodes=4,gpus=8", {}, Room(32, 32)),
        ("nodes=4,gpus=8,cpus=64", {}, Room(256, 32)),
        ("nodes=4,gpus=8,cpus=4", {}, Room(16, 16)),
        ("nodes=4,gpus=2,gpu_memory=80 GiB", {"gpu_memory": 30 * GIB}, Room(16, 16)),
        ("nodes=4,gpus=2", {"gpu_memory": 30 * GIB}, Room(8, 8)),
    ],
)
def test_calls_that_fit_side_by_side(cluster, limits, room):
    assert make_room(read_cluster(cluster), Limits(**limits)) == room


@pytest.mark.parametrize(
    ("cluster", "limits", "words"),
    [
        ("nodes=4", {}, "add cpus=N"),
        ("nodes=4,cpus=2", {"cpus": 3}, "limits.cpus: a call asks for 3 cores, a machine of the cluster has 2 cores"),
        (
            "nodes=4,cpus=2,memory=1 GiB",
            {},
            "limits.memory: a call asks for 4096 MiB, a machine of the cluster has 1024 MiB",
        ),
        ("nodes=4,gpus=1,gpu_memory=1 GiB", {"gpu_memory": 2 * GIB}, "limits.gpu_memory: a call asks for"),
    ],
)
def test_a_call_that_fits_nowhere_is_said_before(cluster, limits, words):
    with pytest.raises(UserError, match=re.escape(words)):
        make_room(read_cluster(cluster), Limits(**limits))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (7.2, "8 s"),
        (130, "2 min 10 s"),
        (5999.9, "100 min 0 s"),
        (7260, "2 h 1 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_times_are_spelled(seconds, words):
    assert spell(seconds) == words
