"""A Ray cluster plays what one machine would: whatever is killed, lost or out of order meanwhile, the board is the
same, byte for byte, and no call is counted twice."""

import contextlib
import json
import signal
import subprocess
import sys

import psutil
import pytest
from builders import (
    first_pixel_dataset,
    harness_process,
    play_file,
    read_index,
    read_ledger,
    write_submission,
    write_tournament,
)
from engine import Bare, assert_gone, forwarder, wait_until
from places import s3_server
from ray.cluster_utils import Cluster

pytestmark = pytest.mark.xdist_group("ray")

HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""That a machine is gone is noticed within seconds."""

ATTACK_CALLS = 9
"""How many calls of defenses there are depends on what their start takes: one that is slow gets several batches."""


ATTACK = """\
#!/usr/bin/env -S python3 -IS
import struct, sys, time, zlib
from pathlib import Path

def chunks(data):
    while data:
        (size,) = struct.unpack(">I", data[:4])
        yield data[4:8], data[8 : 8 + size]
        data = data[12 + size :]

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

for path in Path(sys.argv[1]).glob("*.png"):
    parts = dict(chunks(path.read_bytes()[8:]))
    lines, line = zlib.decompress(parts[b"IDAT"]), 1 + 3 * struct.unpack(">I", parts[b"IHDR"][:4])[0]
    moved = [min(value + %d, 255) if place %% line else value for place, value in enumerate(lines)]
    made = chunk(b"IHDR", parts[b"IHDR"]) + chunk(b"IDAT", zlib.compress(bytes(moved))) + chunk(b"IEND", b"")
    Path(sys.argv[2], path.name).write_bytes(b"\\x89PNG\\r\\n\\x1a\\n" + made)
time.sleep(0.4)
"""
"""Adds to all colour values. It needs no packages, which take longer to import than to play this."""

DEFENSE = """\
#!/usr/bin/env -S python3 -IS
import sys, time, zlib
from pathlib import Path

rows = [f"{path.name},{1 + zlib.crc32(path.read_bytes()) // %d %% 4}" for path in Path(sys.argv[1]).glob("*.png")]
Path(sys.argv[2]).write_text("\\n".join(rows))
time.sleep(0.4)
"""
"""A label out of all bits of an image."""


def write_round(folder):
    """Three attacks on six images, two a call, and two defenses; calls take long enough to be killed in."""
    first_pixel_dataset(folder / "dataset", count=6)
    for name, step, role in (("noop", 0, "attack"), ("up", 7, "attack"), ("far", 16, "targeted_attack")):
        write_submission(folder / "submissions" / name, ATTACK % step, role)
    for name, shift in (("first", 1), ("second", 64)):
        write_submission(folder / "submissions" / name, DEFENSE % shift, "defense")
    return folder


class Machines:
    """A head without cores and two machines of two cores each, all of them on this one."""

    def __init__(self, folder, environment):
        self.folder, self._environment = folder, environment
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH, "env_vars": environment}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self._cluster.address
        self.nodes = {name: self.add(name) for name in "ab"}

    def add(self, name, gpus=0, **variables):
        variables = self._environment | {"HARNESS_NODE_FOLDER": str(self.folder / name)} | variables
        return self._cluster.add_node(num_cpus=2, num_gpus=gpus, env_vars=variables)

    def remove(self, name):
        self._cluster.remove_node(self.nodes.pop(name), allow_graceful=False)
        self._cluster.wait_for_nodes()  # else the next driver still meets it

    def marks(self):
        """Of the processes that play: what each of them starts carries one."""
        return {path.name for path in self.folder.glob("*/*/alive/*")}

    def close(self):
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def server():
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def machines(tmp_path_factory, server):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_UV_RUN_RUNTIME_ENV"):
            patch.setenv(name, "0")
        before = signal.getsignal(signal.SIGTERM)
        found = Machines(tmp_path_factory.mktemp("machines"), server.environment)
        yield found
        found.close()
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def round_(tmp_path_factory):
    return write_round(tmp_path_factory.mktemp("round"))


@pytest.fixture(scope="module")
def reference(round_):
    """The board of the local executor."""
    play_file(write_tournament(round_ / "local.yaml", name="ray", output="local", batch_size=2, limits={"cpus": 1}))
    assert len(read_ledger(round_ / "local/store")) > ATTACK_CALLS + 8
    return (round_ / "local/leaderboard.json").read_bytes()


class Run:
    """A tournament on the cluster, in a process of its own."""

    def __init__(self, round_, machines, name, **keys):
        self.output = round_ / name
        self._machines, self.marks = machines, set()
        defaults = {"name": "ray", "output": name, "batch_size": 2, "executor": "ray", "ray_address": machines.address}
        self.path = write_tournament(round_ / f"{name}.yaml", **defaults | {"limits": {"cpus": 1}} | keys)

    @contextlib.contextmanager
    def process(self):
        with harness_process("run", self.path) as process:
            yield process

    def finish(self):
        with self.process() as process:
            return self.result(process)

    def result(self, process):
        printed, errors = process.communicate(timeout=180)
        assert (process.returncode, errors) == (0, ""), printed
        return printed

    def recorded(self, calls):
        """Waits until so many calls are recorded."""
        wait_until(lambda: (self.output / "store/index.sqlite").exists() and self.ledger() >= calls, 60)
        self.marks |= self._machines.marks()

    def ledger(self):
        with contextlib.suppress(Exception):  # it is being made
            return len(read_ledger(self.output / "store"))
        return 0

    def assert_same(self, reference):
        assert (self.output / "leaderboard.json").read_bytes() == reference
        rows = read_ledger(self.output / "store")
        assert len({key for key, _, _ in rows}) == len(rows)
        for mark in {(self.output / "store/identity").read_text(), *self.marks}:
            assert_gone(mark)


def playing():
    """The processes of Ray that play a call now."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        title = " ".join(process.info["cmdline"] or ())
        if title.startswith("ray::") and ("batch" in title or " images" in title):
            found.append(process)
    return found


def test_two_machines_play_what_one_does(machines, round_, reference):
    run = Run(round_, machines, "plain")
    printed = run.finish()
    run.assert_same(reference)
    assert f"{len(read_ledger(run.output / 'store'))} calls were made" in printed
    provenance = json.loads((run.output / "provenance.json").read_text())
    assert (provenance["executor"], [one["cores"] for one in provenance["nodes"]]) == ("ray", [2, 2])
    assert {name.name for name in machines.folder.iterdir()} == {"a", "b"}


def test_a_worker_and_then_the_driver_are_killed(machines, round_, reference):
    run = Run(round_, machines, "killed")
    with run.process() as process:
        run.recorded(3)
        wait_until(playing)[0].kill()
        run.recorded(6)
        process.kill()
    before = read_ledger(run.output / "store")
    run.finish()
    run.assert_same(reference)
    assert read_ledger(run.output / "store")[: len(before)] == before


def test_the_objects_do_not_answer_for_a_while(machines, round_, reference, server):
    import fsspec

    fsspec.filesystem("s3").mkdir("ray")
    run = Run(round_, machines, "bucket", objects="s3://ray/objects")
    with run.process() as process:
        run.recorded(3)
        server.stop()
        try:
            wait_until(lambda: read_index(run.output / "store", "SELECT * FROM attempts"), 60)
        finally:
            server.start()
        run.result(process)
    run.assert_same(reference)


def test_a_machine_that_always_fails_is_set_aside_and_named(machines, round_, reference):
    run = Run(round_, machines, "broken")
    with run.process() as process:
        run.recorded(2)
        store = (run.output / "store/identity").read_text()
        lock = machines.folder / "b" / store / "sweep.lock"
        lock.unlink()
        lock.mkdir()  # no call finds a folder to work in
        printed = run.result(process)
    run.assert_same(reference)
    assert "is set aside after 3 failures in a row" in printed
    # It fails at once, and would get call after call if it were not left alone.
    assert len(read_index(run.output / "store", "SELECT * FROM attempts")) < 10


def test_a_machine_is_lost_and_another_comes(machines, round_, reference):
    run = Run(round_, machines, "lost")
    with run.process() as process:
        run.recorded(4)
        machines.remove("b")
        machines.nodes["c"] = machines.add("c")
        printed = run.result(process)
    run.assert_same(reference)
    assert " is gone" in printed


def test_all_machines_are_lost_and_another_comes(machines, round_, reference):
    run = Run(round_, machines, "alone")
    names = sorted(machines.nodes)
    with run.process() as process:
        run.recorded(4)
        for name in names:
            machines.remove(name)
        nobody = "no machine of the cluster is left to play on; waiting 5 minutes for one"
        assert any(nobody in line for line in process.stdout)
        machines.nodes |= {name: machines.add(name) for name in names}
        run.result(process)
    run.assert_same(reference)


def test_calls_with_a_gpu_go_to_the_machine_that_has_one(machines, tmp_path):
    """A GPU by Ray's books: nobody looks at it. As long as that machine cannot play, there is nobody for them."""
    write_round(tmp_path)
    for name in ("up", "far"):
        about = tmp_path / "submissions" / name / "metadata.json"
        about.write_text(json.dumps(json.loads(about.read_text()) | {"gpu": True}))
    run = Run(tmp_path, machines, "mixed")
    try:
        machines.nodes["bad"] = machines.add("bad", gpus=1, HARNESS_NODE_FOLDER="/proc/nothing")
        errors = refused(run)
        machines.remove("bad")
        machines.nodes["gpu"] = machines.add("gpu", gpus=1)
        run.finish()
    finally:
        for name in {"bad", "gpu"} & machines.nodes.keys():
            machines.remove(name)
    assert "/proc/nothing" in errors.splitlines()[0]
    assert errors.splitlines()[1].endswith("no machine that can play has one; mend one, or set gpu: false")
    assert json.loads((run.output / "leaderboard.json").read_text())["complete"]
    assert sorted(one["gpus"] for one in json.loads((run.output / "provenance.json").read_text())["nodes"]) == [0, 0, 1]


def refused(run):
    with run.process() as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    return errors.removeprefix("harness: ").rstrip("\n")


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ({"gpu": True}, ["ray: {} asks for 1 GPU; the cluster has none; set gpu: auto, or add a machine"]),
        (
            {"limits": {"cpus": 64}},
            ["limits.cpus: 64 cores for each call, no machine of the cluster has over 2; lower it"],
        ),
    ],
)
def test_what_no_machine_has_is_said_before_work_starts(machines, round_, keys, lines):
    run = Run(round_, machines, "refused", **keys)
    said = refused(run).splitlines()
    names = ["noop", "up", "far", "first", "second"] if "gpu" in keys else [""]
    assert sorted(line.removeprefix("harness: ") for line in said) == sorted(
        line.format(name) for name in names for line in lines
    )
    assert read_ledger(run.output / "store") == []


OTHER_PACKAGES = """
import sys
from harness import cli
from harness.sandbox import process

process.environment_digest = lambda: "process:of the driver alone"
sys.exit(cli.main(["run", sys.argv[1]]))
"""


def test_machines_with_other_packages_than_the_driver_are_named(machines, round_):
    """Under `process` a call would be played with what is installed there, and be taken for a call with ours."""
    run = Run(round_, machines, "packages")
    driver = subprocess.run(
        [sys.executable, "-c", OTHER_PACKAGES, run.path], capture_output=True, text=True, check=False, timeout=60
    )
    lines = driver.stderr.splitlines()
    assert (driver.returncode, len(lines)) == (1, len(machines.nodes))
    for line in lines:
        assert "is left out: it has other packages than the driver; install the same, or use --sandbox docker" in line
    assert read_ledger(run.output / "store") == []


def test_a_machine_that_does_not_reach_the_objects_is_left_out(machines, round_, reference, server):
    import fsspec

    machines.nodes["far"] = machines.add("far", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    fsspec.filesystem("s3").mkdir("reached")
    run = Run(round_, machines, "unreached", objects="s3://reached/objects")
    try:
        printed = run.finish()
    finally:
        machines.remove("far")
    run.assert_same(reference)
    assert "is left out: s3://reached/objects: does not answer as it should (" in printed


@pytest.mark.docker
def test_containers_and_a_machine_without_an_engine(machines, round_, reference, docker_engine):
    machines.nodes["blind"] = machines.add("blind", DOCKER_HOST="unix:///nowhere")
    run = Run(round_, machines, "containers", sandbox="docker")
    with run.process() as process:
        run.recorded(4)
        wait_until(playing)[0].kill()  # its container goes on, until another process on that machine removes it
        printed = run.result(process)
    run.assert_same(reference)
    assert "is left out: docker: no engine answers at unix:///nowhere" in printed
    left = docker_engine.containers.list(all=True, ignore_removed=True)
    assert not {one.labels.get("adversarial-harness.store") for one in left} & run.marks


@pytest.mark.docker
def test_an_image_that_a_machine_has_not_comes_as_an_archive(machines, round_, reference, docker_engine):
    """Once, off the clock of any call."""
    run, names = Run(round_, machines, "archive", sandbox="docker"), sorted(machines.nodes)
    for name in names:
        machines.remove(name)
    with forwarder(Bare) as engine:
        machines.nodes["bare"] = machines.add("bare", DOCKER_HOST=engine.address)
        printed = run.finish()
        machines.remove("bare")
    machines.nodes |= {name: machines.add(name) for name in names}
    run.assert_same(reference)
    assert engine.loads == 1
    assert printed.count("to the objects, for machines that have it not") == 1
    assert read_index(run.output / "store", "SELECT * FROM attempts") == []
