"""What becomes of a run whose container engine fails: calls are tried again, nobody is blamed, nothing is left behind;
and what cannot be played is a hole that has a name, until the same command fills it.

The engine is one of the test's own, with an image of a few programs of this machine, so that it can be ended at will.
"""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import docker
import pytest
from builders import PYTHON_IMAGE, harness_process, living, play_file, read_board, read_index, store_identity
from engine import Forwarder, containers, open_stage, wait_until
from faulty import write_small
from helpers import ROOT

from harness.errors import InfrastructureError
from harness.records import Verdict

pytestmark = pytest.mark.docker

PROGRAMS = ("sh", "cat", "cp", "cut", "sleep", "sha256sum", "cksum")


class OwnEngine:
    """A dockerd with everything below one folder, as `.ci/engine` starts it, but without a network."""

    def __init__(self, folder):
        self.folder, self._process = folder, None
        self.address = f"unix://{folder}/docker.sock"

    def start(self):
        places = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "docker.pid"}
        options = [text for option, name in places.items() for text in (option, str(self.folder / name))]
        # A network namespace of its own: without a bridge it would remove the one that other engines here stand on.
        command = ["unshare", "--net", "dockerd", *options, "-H", self.address, "--bridge", "none", "--iptables=false"]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: self.docker("version", check=False).returncode == 0)

    def end(self, number):
        """Ends it with a signal. SIGTERM ends its containers first, SIGKILL leaves them alive."""
        self._process.send_signal(number)
        self._process.wait(60)
        helper = self.folder / "exec/containerd/containerd.pid"
        if helper.exists():  # else the next dockerd waits for it in vain
            os.kill(int(helper.read_text()), number)
            helper.unlink()
        (self.folder / "docker.pid").unlink(missing_ok=True)

    def docker(self, *arguments, check=True):
        command = ["docker", "-H", self.address, *map(str, arguments)]
        return subprocess.run(command, check=check, capture_output=True, text=True)

    def import_image(self):
        """An image with nothing but PROGRAMS."""
        root = self.folder / "root"
        for program in map(shutil.which, PROGRAMS):
            listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
            libraries = [word for word in listed.split() if word.startswith("/")]
            for source, place in [(program, f"bin/{Path(program).name}"), *((name, name[1:]) for name in libraries)]:
                (root / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(os.path.realpath(source), root / place)
        (root / "tmp").mkdir()
        subprocess.run(["tar", "-C", root, "-cf", self.folder / "root.tar", "."], check=True)
        self.docker("import", self.folder / "root.tar", PYTHON_IMAGE)

    def close(self):
        """Also what a killed dockerd left: one is started once more for that."""
        if self._process is None:
            return
        if self._process.poll() is not None:
            self.start()
        for container in self.docker("ps", "-q", check=False).stdout.split():
            self.docker("kill", container, check=False)
        self.end(signal.SIGTERM)
        subprocess.run([ROOT / ".ci/engine", "stop", self.folder], check=True)  # its mounts
        for process in living(str(self.folder)):
            process.kill()


class FaultyForwarder(Forwarder):
    """Passes requests on until the one that is to fail: it is answered with an error, or its connection is cut."""

    def __init__(self, path, target):
        self._requests, self._last, self._answer = itertools.count(1), 0, b""
        super().__init__(path, target)

    def fail(self, number, answer):
        """The request of that number from now on; whether that was ever made says `failed`."""
        self._requests, self._last, self._answer = itertools.count(1), number, answer
        self.failed = False

    def _pass_on(self, source, target):
        if source in self._ends[::2]:
            self._filter(source, target)
        else:
            super()._pass_on(source, target)

    def _filter(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if data.split(b" ")[0] in (b"GET", b"POST", b"DELETE") and next(self._requests) == self._last:
                    self.failed = True
                    source.sendall(self._answer)
                    break
                target.sendall(data)
            for end in (source, target):
                end.shutdown(socket.SHUT_RDWR)


MESSAGE = b'{"message": "no such thing in this test"}'
ANSWERS = {
    "cut": b"",
    "error": b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(MESSAGE), MESSAGE),
    "nonsense": b"\x00\xffno engine speaks like this\r\n\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_whichever_request_fails_the_submission_is_not_blamed(tmp_path, monkeypatch, docker_engine, answer):
    """Each in turn, of all that are made for a call; and what the call left is swept."""
    target = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    if not Path(target).is_socket():
        pytest.skip(f"the engine is not behind a local socket ({target})")
    with tempfile.TemporaryDirectory() as folder, open_stage("docker", tmp_path) as stage:
        proxy = FaultyForwarder(Path(folder, "docker.sock"), target)
        monkeypatch.setenv("DOCKER_HOST", proxy.address)
        backend, raised = stage.open(), 0
        for number in itertools.count(1):
            job = stage.stage('echo made >"$2/file"')
            proxy.fail(number, ANSWERS[answer])
            ending = None
            with contextlib.suppress(InfrastructureError):
                ending = backend.run(job, threading.Event())
            assert ending is None or (ending.verdict, ending.exit_code) == (Verdict.OK, 0)
            assert ending or proxy.failed
            raised += ending is None
            if not proxy.failed:
                break
        proxy.cut()
        monkeypatch.undo()
        assert raised >= 5  # create, start, wait, inspect, logs, remove at the least
        stage.backend.sweep()
        assert containers(docker_engine, stage.identity) == []


@pytest.fixture(scope="module")
def own_engine():
    if os.geteuid() != 0 or not all(map(shutil.which, ("dockerd", "docker", "ldd", "unshare"))):
        pytest.skip("starting an engine of one's own needs root, dockerd, docker, ldd and unshare")
    folder = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))  # a socket's path has to be short
    engine = OwnEngine(folder)
    try:
        engine.start()
        engine.import_image()
        yield engine
    finally:
        engine.close()
        shutil.rmtree(folder)


def write_slow(folder, **keys):
    """Attacks take a second, so that there is time to end the engine."""
    path = write_small(folder, images=2, **keys)
    for entry in folder.glob("submissions/*/made/../run"):
        entry.write_text(entry.read_text() + "sleep 1\n")
    return path


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """The leaderboard that a run must come to."""
    path = write_slow(tmp_path_factory.mktemp("reference"))
    play_file(path)
    return (path.parent / "out/leaderboard.json").read_bytes()


@pytest.fixture
def path(own_engine, tmp_path, monkeypatch):
    """A tournament that the engine of this test plays."""
    monkeypatch.setenv("DOCKER_HOST", own_engine.address)
    return write_slow(tmp_path, sandbox="docker")


def running(engine):
    """The names of the running containers, once there is one."""
    return wait_until(lambda: engine.docker("ps", "-q").stdout.split())


def assert_whole(path, board, engine):
    output = path.parent / "out"
    assert (output / "leaderboard.json").read_bytes() == board
    assert read_index(output / "store", "SELECT DISTINCT verdict FROM calls") == [("ok",)]
    with contextlib.closing(docker.DockerClient(engine.address)) as client:
        assert containers(client, store_identity(output)) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_an_engine_that_is_started_again_in_time_costs_an_attempt(own_engine, path, board, number, run_main, capsys):
    with harness_process("run", path) as harness:
        running(own_engine)
        own_engine.end(number)
        own_engine.start()
        said, errors = harness.communicate(timeout=120)
    assert (harness.returncode, errors) == (0, "")
    assert "our own side failed" in said
    assert_whole(path, board, own_engine)
    assert read_index(path.parent / "out/store", "SELECT COUNT(*) FROM attempts")[0][0] >= 1
    assert run_main("status", path.parent / "out") == 0
    assert "our own side failed" in capsys.readouterr().out


def test_what_an_engine_ends_when_it_stops_is_not_the_submissions_exit(own_engine, path, board):
    """It is up again before the harness looks, and says that the container ended with a code of its own."""
    with harness_process("run", path) as harness:
        running(own_engine)
        harness.send_signal(signal.SIGSTOP)
        own_engine.end(signal.SIGTERM)
        own_engine.start()
        harness.send_signal(signal.SIGCONT)
        _, errors = harness.communicate(timeout=120)
    assert (harness.returncode, errors) == (0, "")
    assert_whole(path, board, own_engine)


def test_an_image_that_is_deleted_is_a_hole_until_it_is_back(own_engine, path, board, run_main, capsys):
    saved = own_engine.folder / "saved.tar"
    own_engine.docker("save", "-o", saved, PYTHON_IMAGE)
    identity = own_engine.docker("images", "-q", "--no-trunc").stdout.split()[0]
    output = path.parent / "out"
    with harness_process("run", path) as harness:
        running(own_engine)
        wait_until(lambda: own_engine.docker("rmi", "-f", identity, check=False).returncode == 0)
        said, errors = harness.communicate(timeout=120)
    own_engine.docker("load", "-i", saved)
    assert (harness.returncode, errors) == (1, "")
    assert "given up" in said
    found = read_board(output)
    assert not found["complete"]
    assert sum(hole["missing_answers"] for hole in found["holes"]) == found["missing_answers"] > 0
    assert "**Incomplete:**" in (output / "leaderboard.md").read_text()
    assert run_main("status", output) == 0
    said = capsys.readouterr().out
    assert "incomplete" in said
    assert "No such image" in said
    assert run_main("run", path) == 0
    assert_whole(path, board, own_engine)
