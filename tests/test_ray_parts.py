"""Who may play on a cluster, how many side by side, on which cores, and what is said where nobody can: each without a
cluster, because each start of one costs seconds."""

import fcntl
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness.config import Tournament
from harness.errors import EngineUnavailableError, InfrastructureError, UserError
from harness.executors import ray_nodes
from harness.executors.cores import own_folder, take_cores
from harness.executors.field import open_ground
from harness.executors.marks import make_mark, sweep_marks
from harness.executors.ray_archives import Archives
from harness.executors.ray_ground import PREFIX, _sweep_folders
from harness.executors.ray_nodes import MOST_FAILURES, Nodes, _looker
from harness.executors.ray_room import Member, Needs, Report, State, room, unmet
from harness.sandbox import CallStoppedError

GIB = 1 << 30

NEVER = threading.Event()

NEEDS = Needs(cpus=2, memory=4 * GIB, gpu_memory=None, gpus=False, others=True)


def member(name="a", gpu_memory=None, **resources):
    given = {"CPU": 8.0, "memory": float(64 * GIB)} | resources
    return Member(name, f"host-{name}", given, State.PLAYING, Report(f"host-{name}", gpu_memory=gpu_memory))


def nodes(*members, needs=NEEDS, has=lambda digest: True):
    lines = []
    found = Nodes(needs, b"", has, "probe", lines.append, {one.id: one for one in members})
    return found, lines


# --- cores


@given(count=st.integers(1, 3), cores=st.integers(1, 6), calls=st.integers(1, 4))
def test_nobody_has_a_core_of_another(tmp_path_factory, count, cores, calls):
    """Where the machine was given out for what it has."""
    folder, own = tmp_path_factory.mktemp("cores"), list(range(10, 10 + cores))
    side_by_side = max(1, cores // count)
    taken, most, lock = [], threading.Semaphore(side_by_side), threading.Lock()

    def call(number):
        with most, take_cores(folder, own, count, cores, NEVER) as held:
            with lock:
                assert len(held) == count
                if count <= cores:
                    assert not set(held) & {core for other in taken for core in other}
                    assert len(set(held)) == count
                taken.append(held)
            with lock:
                taken.remove(held)

    with ThreadPoolExecutor(calls) as pool:
        list(pool.map(call, range(calls)))


def test_a_machine_that_is_given_out_twice_shares_its_cores(tmp_path):
    with take_cores(tmp_path, [0, 1], 2, 4, NEVER) as first, take_cores(tmp_path, [0, 1], 2, 4, NEVER) as second:
        assert sorted(first) == sorted(second) == [0, 1]


# --- marks


def test_a_call_that_is_stopped_does_not_wait_for_cores(tmp_path):
    stop = threading.Event()
    stop.set()
    with take_cores(tmp_path, [0], 1, 1, NEVER), pytest.raises(CallStoppedError), take_cores(tmp_path, [0], 1, 1, stop):
        pytest.fail("there was one core")


def test_a_folder_that_somebody_else_made_is_not_ours(tmp_path):
    """In /tmp anybody may make one, or a link to where only we may write."""
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(UserError, match=f"{name}: is not a folder of this user"):
            own_folder(tmp_path / name)
    assert own_folder(tmp_path / "new") == own_folder(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_what_the_dead_left_is_swept_once_and_the_living_are_left_alone(tmp_path):
    alive, dead = make_mark(tmp_path), make_mark(tmp_path)
    dead.close()
    swept = []

    def sweep(mark):
        swept.append(mark)
        return 3

    assert [sweep_marks(tmp_path, sweep), sweep_marks(tmp_path, sweep)] == [3, 0]
    assert swept == [os.path.basename(dead.name)]
    alive.close()
    assert sweep_marks(tmp_path, sweep) == 3


def test_a_mark_that_could_not_be_swept_is_swept_again(tmp_path):
    def fail(mark):
        raise InfrastructureError("no engine")

    make_mark(tmp_path).close()
    with pytest.raises(InfrastructureError):
        sweep_marks(tmp_path, fail)
    assert sweep_marks(tmp_path, lambda mark: 1) == 1


# --- room


@pytest.mark.parametrize(
    ("needs", "machine", "calls"),
    [
        ({}, {}, 4),
        ({"cpus": 3}, {}, 2),
        ({"memory": 33 * GIB}, {}, 1),
        ({"memory": 65 * GIB}, {}, 0),
        ({"gpus": True, "others": False}, {}, 0),
        ({"gpus": True, "others": True}, {}, 4),
        ({"gpus": True}, {"GPU": 2.0}, 2),
        ({"gpus": True, "cpus": 8}, {"GPU": 2.0}, 1),
        ({"gpus": True, "cpus": 1, "gpu_memory": 24 * GIB}, {"GPU": 2.0, "gpu_memory": 80 * GIB}, 6),
        ({"gpus": True, "cpus": 1, "gpu_memory": 24 * GIB}, {"GPU": 2.0}, 2),
    ],
)
def test_how_many_calls_find_room(needs, machine, calls):
    found, _ = nodes(member(**machine), needs=Needs(**vars(NEEDS) | needs))
    assert found.slots == calls


def test_a_share_of_a_gpu_is_one_of_the_smallest_and_never_too_small():
    needs = Needs(1, GIB, 10 * GIB, True, False)
    found, _ = nodes(member("a", 80 * GIB, GPU=1.0), member("b", 30 * GIB, GPU=1.0), needs=needs)
    assert found.gpu_share == 0.3334
    assert found.slots == 4


@pytest.mark.parametrize(
    ("needs", "line"),
    [
        ({"cpus": 9}, "limits.cpus: 9 cores for each call, no machine of the cluster has over 8; lower it"),
        (
            {"memory": 65 * GIB},
            "limits.memory: 65.0 GiB for each call, no machine of the cluster has over 64.0 GiB; lower it",
        ),
        (
            {"gpus": True, "others": False},
            "there are calls with a GPU, and no machine that can play has one; mend one, or set gpu: false",
        ),
    ],
)
def test_what_no_machine_has(needs, line):
    needs = Needs(**vars(NEEDS) | needs)
    assert room(member(), needs, 1.0) == 0
    assert unmet(needs, [member()], needs.gpus) == line


# --- failures


def test_a_machine_that_fails_alone_is_set_aside_and_named():
    found, lines = nodes(member("a"), member("b"))
    for _ in range(MOST_FAILURES):
        found.failed("b", InfrastructureError("no disk"))
    assert lines == ["the machine host-b (b) is set aside after 3 failures in a row (no disk)"]
    assert [one.id for one in found.playing] == ["a"]
    assert found.excluded([], False) == {"b"}


def test_a_machine_that_succeeds_in_between_is_not():
    found, lines = nodes(member("a"), member("b"))
    for _ in range(MOST_FAILURES):
        found.failed("b", InfrastructureError("no disk"))
        found.succeeded("b")
    assert (len(found.playing), lines) == (2, [])


def test_what_happens_to_all_is_no_machines_fault():
    found, lines = nodes(member("a"), member("b"))
    found.failed("a", InfrastructureError("no network"))
    for _ in range(9):
        found.failed("b", InfrastructureError("no network"))
    assert (len(found.playing), lines) == (2, [])


def test_objects_that_do_not_answer_are_no_machines_fault():
    def has(digest):
        raise InfrastructureError("no answer")

    found, lines = nodes(member("a"), member("b"), has=has)
    for _ in range(9):
        found.failed("b", InfrastructureError("no answer"))
    assert (len(found.playing), lines) == (2, [])


def test_the_last_machine_is_never_set_aside():
    found, _ = nodes(member("a"))
    for _ in range(9):
        found.failed("a", InfrastructureError("no disk"))
    assert len(found.playing) == 1


def test_a_call_avoids_where_it_failed_as_long_as_there_is_another():
    found, _ = nodes(member("a"), member("b"))
    assert found.excluded(["a"], False) == {"a"}
    assert found.excluded(["a", "b"], False) == set()


# --- calls with and without a GPU

BOTH = Needs(cpus=2, memory=4 * GIB, gpu_memory=None, gpus=True, others=True)


def test_the_only_machine_with_a_gpu_is_never_set_aside():
    found, lines = nodes(member("plain"), member("gpu", GPU=1.0), needs=BOTH)
    for _ in range(9):
        found.failed("gpu", InfrastructureError("no disk"))
    assert (found.fitting(True), lines) == ({"gpu"}, [])
    assert found.excluded(["gpu"], True) == set(), "there is no other for a call with a GPU"
    assert found.excluded(["gpu"], False) == {"gpu"}


def test_calls_that_wait_for_a_gpu_keep_nobody_from_playing():
    found, _ = nodes(member("plain"), member("gpu", GPU=1.0), needs=BOTH)
    assert found.slots == 5
    assert found.free_slots(None, [True]) == 4
    assert found.free_slots(None, [True] * 4) == 4, "three of them wait"
    assert found.free_slots(None, [True] * 4 + [False] * 4) == 0
    assert found.free_slots(None, [True] * 6) == 0, "and no more than slots"
    assert found.free_slots(2, [True]) == 1
    assert found.free_slots(2, [False] * 3) == 0


# --- machines that come and go


@pytest.fixture
def said(monkeypatch):
    """What the machines of a cluster say when they are looked at: id -> (resources, Report)."""
    said = {}

    def machines():
        common = {"Alive": True}
        return [
            common | {"NodeID": id_, "NodeManagerHostname": f"host-{id_}", "Resources": {"memory": 64e9} | resources}
            for id_, (resources, _) in said.items()
        ]

    monkeypatch.setattr(ray_nodes, "machines", machines)
    monkeypatch.setattr(ray_nodes, "_heard", lambda member: said[member.id][1])
    monkeypatch.setattr(ray_nodes, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(Nodes, "_look", lambda nodes, member: "asked")
    monkeypatch.setattr(Nodes, "_hear_all", Nodes._hear)
    return said


GOOD = Report("host", None, "answer")
NO_ENGINE = Report("host", "no engine answers")


def test_a_kind_of_call_without_a_machine_is_said_before_work_starts(said):
    said["a"], said["b"] = ({"CPU": 4.0}, GOOD), ({"CPU": 4.0, "GPU": 1.0}, NO_ENGINE)
    found, _ = nodes(needs=BOTH)
    with pytest.raises(UserError) as caught:
        found.muster("process")
    assert str(caught.value).splitlines() == [
        "the machine host-b (b) is left out: no engine answers",
        "there are calls with a GPU, and no machine that can play has one; mend one, or set gpu: false",
    ]


def test_a_machine_that_was_left_out_is_asked_again(said, monkeypatch):
    """An engine may start later than Ray does beside it."""
    said["a"], said["b"] = ({"CPU": 4.0}, GOOD), ({"CPU": 4.0}, NO_ENGINE)
    found, lines = nodes()
    found.muster("process")
    said["b"] = (said["b"][0], GOOD)
    for _ in range(3):
        found.refresh()
    assert len(found.playing) == 1, "not at once"
    monkeypatch.setattr(ray_nodes, "AGAIN_SECONDS", 0.0)
    said["b"] = (said["b"][0], NO_ENGINE)
    found.members["b"].due = 0.0
    for _ in range(6):
        found.refresh()
    said["b"] = (said["b"][0], GOOD)
    for _ in range(3):
        found.refresh()
    assert len(found.playing) == 2
    assert lines == ["the machine host-b (b) is left out: no engine answers", "the machine host-b (b) can play now"]


def test_a_machine_that_was_set_aside_is_not_asked_again(said, monkeypatch):
    monkeypatch.setattr(ray_nodes, "AGAIN_SECONDS", 0.0)
    said["a"] = said["b"] = ({"CPU": 4.0}, GOOD)
    found, _ = nodes()
    found.muster("process")
    for _ in range(MOST_FAILURES):
        found.failed("b", InfrastructureError("no disk"))
    for _ in range(3):
        found.refresh()
    assert found.fitting(False) == {"a"}


def test_objects_that_are_away_when_a_machine_comes_end_nothing(said, monkeypatch):
    monkeypatch.setattr(ray_nodes, "AGAIN_SECONDS", 0.0)
    away = []

    def has(digest):
        if away:
            raise InfrastructureError("no answer")
        return True

    said["a"] = ({"CPU": 4.0}, GOOD)
    found, lines = nodes(has=has)
    found.muster("process")
    said["b"] = ({"CPU": 4.0}, GOOD)
    away.append(True)
    for _ in range(3):
        found.refresh()
    assert found.fitting(False) == {"a"}
    away.clear()
    for _ in range(3):
        found.refresh()
    assert found.fitting(False) == {"a", "b"}
    assert lines[0] == "the machine host-b (b) is left out: whether it reaches the objects cannot be told (no answer)"


def test_calls_wait_for_a_machine_and_not_for_ever(said, monkeypatch):
    said["a"] = ({"CPU": 4.0}, GOOD)
    found, lines = nodes()
    found.muster("process")
    del said["a"]
    found.refresh()
    for _ in range(3):
        found.check_room([False])
    nobody = "no machine of the cluster is left to play on"
    assert lines == ["the machine host-a (a) is gone", f"{nobody}; waiting 5 minutes for one"]
    said["b"] = ({"CPU": 4.0}, GOOD)
    found.refresh()
    found.refresh()
    found.check_room([False])
    monkeypatch.setattr(ray_nodes, "GONE_SECONDS", 0.0)
    found.check_room([False, True])
    assert lines[-1] == f"{nobody} that has a GPU; waiting 0 minutes for one"
    with pytest.raises(EngineUnavailableError, match=f"{nobody} that has a GPU; `ray start` brings one"):
        found.check_room([False, True])


def test_ray_may_be_silent_for_a_while(said, monkeypatch):
    said["a"] = ({"CPU": 4.0}, GOOD)
    found, _ = nodes()
    found.muster("process")

    def silent():
        raise OSError("no answer")

    monkeypatch.setattr(ray_nodes, "machines", silent)
    found.refresh()
    assert found.fitting(False) == {"a"}
    monkeypatch.setattr(ray_nodes, "GONE_SECONDS", 0.0)
    with pytest.raises(EngineUnavailableError, match="Ray does not answer"):
        found.refresh()


# --- what is left in /tmp


def test_the_folders_of_runs_that_were_killed_are_removed(tmp_path):
    old, fresh, living = (tmp_path / f"{PREFIX}{name}" for name in ("old", "fresh", "living"))
    for folder in (old, fresh, living, tmp_path / "other"):
        (folder / "session").mkdir(parents=True)
    for folder in (old, living, tmp_path / "other"):
        os.utime(folder, (0, 0))
    lock = os.open(living, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    _sweep_folders(tmp_path)
    os.close(lock)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{PREFIX}fresh", f"{PREFIX}living", "other"]


# --- what is said


def test_another_version_is_named_without_anything_of_ours_being_sent():
    look = _looker()._function
    said = f"it has the harness {harness.__version__}, the driver has 9.9; install the same there"
    assert look("9.9", b"no orders") == said


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"executor": "local", "ray_address": "auto"}, "ray_address: is for the executor ray"),
        ({"ray_address": "ray://host:10001"}, "ray://host:10001: is no address of a Ray cluster; give HOST:PORT"),
        ({"ray_address": "host"}, "host: is no address of a Ray cluster; give HOST:PORT"),
        ({"ray_address": "localhost:99999999"}, "localhost:99999999: nobody answers there"),
        ({"limits": {"cpus": 10_000}}, "limits.cpus: 10000 cores for each call, this machine has"),
    ],
)
def test_what_ray_is_not_even_asked(keys, line):
    with pytest.raises(UserError) as error:
        open_ground(tournament(**keys))
    assert str(error.value).startswith(line)
    assert len(error.value.faults) == 1


def test_an_address_where_nobody_is():
    with socket.socket() as taken:  # and listens not
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError) as error:
            open_ground(tournament(ray_address=address))
    assert str(error.value).startswith(f"{address}: nobody answers there (")
    assert str(error.value).endswith("; start Ray with `ray start --head`")


def tournament(**keys):
    required = {"name": "t", "dataset": {"path": "d"}, "submissions": ["s"], "output": "o", "executor": "ray"}
    return Tournament.model_validate(required | keys, strict=False)


# --- archives


class Depot:
    """Where archives are brought to, as far as they ask anything of it."""

    def __init__(self, folder):
        self.objects, self._folder, self.added = self, folder, []

    def work_folder(self):
        return self

    def __enter__(self):
        return self._folder

    def __exit__(self, *error):
        pass

    def add_file(self, path):
        self.added.append(path.read_text())
        return f"object {len(self.added)}"


class Engine:
    def __init__(self, failures=0):
        self.failures = failures

    def pack(self, runtime, archive):
        if self.failures:
            self.failures -= 1
            raise InfrastructureError("the engine is gone")
        archive.write_text(runtime)


def test_an_image_is_brought_to_the_objects_once(tmp_path):
    depot, lines = Depot(tmp_path), []
    archives = Archives(Engine(), depot, lines.append)
    assert archives.find("image 1") == ""
    for _ in range(3):
        archives.ask("image 1")
    while archives.is_awaited("image 1"):
        pass
    assert (archives.find("image 1"), archives.failure("image 1")) == ("object 1", None)
    assert (depot.added, len(lines)) == (["image 1"], 1)
    archives.close()


def test_an_image_that_could_not_be_written_is_written_when_it_is_asked_for_again(tmp_path):
    archives = Archives(Engine(failures=1), Depot(tmp_path), lambda line: None)
    archives.ask("image 1")
    while archives.is_awaited("image 1"):
        pass
    assert (archives.find("image 1"), str(archives.failure("image 1"))) == ("", "the engine is gone")
    archives.ask("image 1")
    while archives.is_awaited("image 1"):
        pass
    assert archives.find("image 1") == "object 1"
    archives.close()
