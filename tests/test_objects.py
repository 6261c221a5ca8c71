"""A place of objects that is away for a while costs time and nothing else; one that is away for good, or is none, is
named; and a machine's cache never fills its disk."""

import errno
import os
import socket
import socketserver
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT
from places import files_at, key_of, make_bucket, overwrite, s3_server

from harness import bucket, objects
from harness.digest import digest_bytes
from harness.errors import InfrastructureError, ObjectMissingError, StoreDamagedError, UserError
from harness.object_folder import FolderObjects
from harness.objects import RemoteObjects, claim, open_objects


@pytest.fixture(scope="module")
def server():
    with s3_server() as server:
        yield server


@pytest.fixture
def place(server):
    return f"{make_bucket()}/objects"


@pytest.fixture
def quick(monkeypatch):
    """As many tries as ever, with less time between them."""
    monkeypatch.setattr(bucket, "BACK_OFF_SECONDS", 0.1)


@pytest.fixture
def remote(place, tmp_path):
    return open_objects(place, tmp_path / "cache")


# --- a server that fails


@pytest.fixture
def down(server):
    """Stops the server; what it returns starts it again after some seconds."""
    timers = []
    server.stop()

    def again_after(seconds):
        timers.append(threading.Timer(seconds, server.start))
        timers[0].start()

    yield again_after
    if not timers:
        server.start()
    for timer in timers:
        timer.join()


def test_a_server_that_is_down_for_a_while_costs_time_only(remote, tmp_path, quick, request):
    (tmp_path / "weights").write_bytes(b"weights")
    first = remote.add(b"first")
    acts = {
        "add": lambda: remote.add(b"second") == digest_bytes(b"second"),
        "add a file": lambda: remote.add_file(tmp_path / "weights") == digest_bytes(b"weights"),
        "read": lambda: open_objects(remote.place, tmp_path / "other").read(first) == b"first",
        "list": lambda: set(remote.digests()) >= {first},
    }
    request.getfixturevalue("down")(0.4)
    threads = {name: Act(act) for name, act in acts.items()}
    assert {name: thread.ended() for name, thread in threads.items()} == dict.fromkeys(acts, True)


class Act(threading.Thread):
    """What a function returned or raised, from a thread of its own."""

    def __init__(self, act):
        super().__init__()
        self._act = act
        self.start()

    def run(self):
        try:
            self._came = self._act()
        except InfrastructureError as error:
            self._came = error

    def ended(self):
        self.join()
        return self._came


def test_a_server_that_is_down_is_named_after_some_tries(remote, tmp_path, quick, monkeypatch, request):
    digest = remote.add(b"x")
    later = open_objects(remote.place, tmp_path / "other")
    request.getfixturevalue("down")
    waited = []
    monkeypatch.setattr(bucket.time, "sleep", waited.append)
    with pytest.raises(InfrastructureError, match=f"^{remote.place}: does not answer as it should") as caught:
        later.read(digest)
    assert not isinstance(caught.value, StoreDamagedError), "nothing is known of the object"
    assert waited == [0, 0.1, 0.2, 0.4, 0.8]
    assert list((tmp_path / "other").rglob(".*")) == []
    assert remote.read(digest) == b"x", "what is in the cache needs no server"


def test_a_place_that_does_not_answer_is_a_line(remote, quick, request):
    request.getfixturevalue("down")
    with pytest.raises(UserError, match=f"^{remote.place}: no place for objects .*; mend its address") as caught:
        claim(remote, "me")
    assert len(caught.value.faults) == 1


def test_a_bucket_that_is_not_there_is_a_line_and_is_not_made(server, quick, tmp_path):
    place = "s3://nobody-made-this/objects"
    with pytest.raises(UserError, match=f"^{place}: no place for objects .*bucket does not exist"):
        claim(open_objects(place, tmp_path / "cache"), "me")
    assert not files_at(place)[0].exists("nobody-made-this")


@pytest.mark.parametrize("package", ["fsspec", "s3fs"])
def test_a_package_that_is_missing_is_named(package):
    program = f"""
import sys
sys.modules["{package}"] = None
from harness.bucket import Bucket
from harness.errors import UserError
try:
    Bucket("s3://bucket/x")
except UserError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.startswith("s3://bucket/x: a package for this protocol is missing (")
    assert said.endswith("); install adversarial-harness[s3]\n")


def test_a_disk_of_this_machine_that_is_full_is_not_the_servers_fault(remote, monkeypatch):
    digest = remote.add(b"x" * 100_000)
    monkeypatch.setattr(bucket.time, "sleep", lambda seconds: seconds and pytest.fail("it was tried again"))
    with pytest.raises(OSError, match="No space left") as caught:
        bucket.Bucket(remote.place).fetch(digest, Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC


class Cutting(socketserver.ThreadingTCPServer):
    """Passes on to a server, and breaks off the first connections after so many bytes of one direction."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port, bytes_up, bytes_down, times):
        super().__init__(("127.0.0.1", 0), Passing)
        self.port, self.most, self.times = port, (bytes_up, bytes_down), times
        self.lock = threading.Lock()


class Passing(socketserver.BaseRequestHandler):
    def handle(self):
        with self.server.lock:
            self.server.times -= 1
            most = self.server.most if self.server.times >= 0 else (1 << 60, 1 << 60)
        with socket.create_connection(("127.0.0.1", self.server.port)) as behind:
            ways = ((self.request, behind, most[0]), (behind, self.request, most[1]))
            threads = [threading.Thread(target=self.passed, args=way) for way in ways]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def passed(self, source, target, most):
        try:
            while most > 0 and (piece := source.recv(min(most, 1 << 16))):
                target.sendall(piece)
                most -= len(piece)
        except OSError:
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_connection_that_breaks_off_leaves_no_half_object(server, place, tmp_path, quick, monkeypatch, way):
    data = os.urandom(300_000)
    digest = digest_bytes(data)
    if way == "down":
        open_objects(place, tmp_path / "first").add(data)
    limits = (100_000, 1 << 60) if way == "up" else (1 << 60, 100_000)
    with Cutting(server.port, *limits, times=3) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_address[1]}")
        through = open_objects(place, tmp_path / "through")
        assert through.add(data) == digest if way == "up" else through.read(digest) == data
        proxy.shutdown()
        thread.join()
    assert proxy.times < 0, "it broke off as often as it should"
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.environment["AWS_ENDPOINT_URL"])
    after = open_objects(place, tmp_path / "after")
    assert list(after.digests()) == [digest]
    assert after.read(digest) == data
    assert list((tmp_path / "through").rglob(".*")) == []


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL], ids=["knows no such request", "names no condition"])
def test_a_note_is_made_once_whatever_a_server_says_of_it(remote, monkeypatch, code):
    """As servers do that are not Amazon's."""
    files = type(files_at(remote.place)[0])
    send = files.pipe_file

    def answer(self, path, data, mode="overwrite"):
        if mode == "create" and (code == errno.ENOSYS or self.exists(path)):
            raise OSError(code, "no")
        send(self, path, data)

    monkeypatch.setattr(files, "pipe_file", answer)
    for data in (b"one", b"two"):
        remote.add_note("note.txt", data)
    assert remote.read_note("note.txt") == b"one"


# --- what comes over the way


class Spoiling(FolderObjects):
    """The first so many times that something is fetched, it comes damaged."""

    def __init__(self, path, times):
        super().__init__(path)
        self.times = times

    def fetch(self, digest, target):
        self.times -= 1
        if self.times >= 0:
            target.write_bytes(b"evil")
        else:
            super().fetch(digest, target)


def test_what_was_spoilt_on_its_way_is_fetched_again(tmp_path):
    origin = Spoiling(tmp_path / "origin", 1)
    digest = origin.add(b"good")
    machine = RemoteObjects(origin, FolderObjects(tmp_path / "cache"))
    assert machine.read(digest) == b"good"
    assert origin.has(digest)


def test_what_comes_spoilt_twice_is_damaged_and_no_longer_there(tmp_path):
    origin = Spoiling(tmp_path / "origin", 2)
    digest = origin.add(b"good")
    machine = RemoteObjects(origin, FolderObjects(tmp_path / "cache"))
    with pytest.raises(StoreDamagedError, match=f"object {digest} is damaged") as caught:
        machine.read(digest)
    assert not isinstance(caught.value, ObjectMissingError)
    assert not origin.has(digest)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_shared_folder_on_the_same_disk_is_linked_and_not_copied(tmp_path):
    origin = FolderObjects(tmp_path / "origin")
    digest = origin.add(b"x")
    RemoteObjects(origin, FolderObjects(tmp_path / "cache")).read(digest)
    assert (tmp_path / "cache" / key_of(digest)).samefile(origin.path_of(digest))


# --- a cache that gives way


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A disk for 100 files, of which the cache may leave the last 10 alone, and gives way until 20 are free."""
    real = os.statvfs
    cache = tmp_path / "cache"

    def room(path):
        if Path(path) != cache:
            return real(path)
        used = sum(path.is_file() for path in cache.rglob("*"))
        return SimpleNamespace(f_bavail=100 - used, f_frsize=1)

    monkeypatch.setattr(objects.os, "statvfs", room)
    return cache


@pytest.mark.parametrize("way", ["read", "add"])
def test_a_cache_gives_way_before_its_disk_is_full(tmp_path, disk, way):
    origin = FolderObjects(tmp_path / "origin")
    cache = FolderObjects(disk)
    machine = RemoteObjects(origin, cache, spare=10)
    blobs = [bytes([number]) * 3 for number in range(130)]
    most = 0
    for blob in blobs:
        digest = machine.add(blob) if way == "add" else origin.add(blob)
        assert machine.read(digest) == blob
        most = max(most, len(set(cache.digests())))
    assert 50 < most <= 91
    assert [machine.read(digest_bytes(blob)) for blob in blobs] == blobs, "the place still has them"


@pytest.mark.parametrize("act", ["read", "link", "copy"])
def test_a_cache_that_always_gives_way_takes_nothing_out_of_anybodys_hands(tmp_path, act):
    """Machines of a full disk, side by side: each clears what the others just brought."""
    origin = FolderObjects(tmp_path / "origin")
    blobs = [bytes([number]) * 100 for number in range(60)]
    digests = [origin.add(blob) for blob in blobs]
    start = threading.Barrier(4)

    def use(number):
        machine = RemoteObjects(origin, FolderObjects(tmp_path / "cache"), spare=1 << 60)
        folder = tmp_path / str(number)
        folder.mkdir()
        start.wait()
        for digest in digests:
            if act == "read":
                (folder / digest).write_bytes(machine.read(digest))
            else:
                getattr(machine, act)(digest, folder / digest)
        return [(folder / digest).read_bytes() for digest in digests]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == [blobs] * 4
    assert list((tmp_path / "cache").rglob(".*")) == []


def test_a_cache_gives_way_only_while_that_brings_room(tmp_path, monkeypatch):
    """The disk is full of other things, or what the cache lets go of is linked elsewhere."""
    origin, cache = FolderObjects(tmp_path / "origin"), FolderObjects(tmp_path / "cache")
    machine = RemoteObjects(origin, cache)
    digests = [origin.add(bytes([number])) for number in range(40)]
    machine.bring(digests)
    begins = {digest[:2] for digest in digests}
    monkeypatch.setattr(objects.os, "statvfs", lambda path: SimpleNamespace(f_bavail=0, f_frsize=1))
    machine.add(b"more")
    assert len(begins - {digest[:2] for digest in cache.digests()}) == 1


def test_one_damaged_object_of_a_bucket_is_not_paid_for_with_all(remote, tmp_path, monkeypatch):
    digests = [remote.add(bytes([number])) for number in range(20)]
    overwrite(remote.place, key_of(digests[0]), b"evil")
    fetched = []
    fetch = bucket.Bucket.fetch
    monkeypatch.setattr(bucket.Bucket, "fetch", lambda *given: fetched.append(given[1]) or fetch(*given))
    machine = open_objects(remote.place, tmp_path / "other")
    with pytest.raises(StoreDamagedError):
        machine.bring(digests[:3])
    machine.remove_damaged()
    assert sorted(fetched) == sorted([digests[0], *digests[:3]])
    assert set(machine.digests()) == set(digests[1:])


def test_what_a_call_was_given_stays_when_the_cache_gives_way(tmp_path, disk):
    origin = FolderObjects(tmp_path / "origin")
    machine = RemoteObjects(origin, FolderObjects(disk), spare=10)
    digest = origin.add(b"x")
    machine.link(digest, tmp_path / "input.png")
    (disk / key_of(digest)).unlink()
    assert (tmp_path / "input.png").read_bytes() == b"x"
    machine.link(digest, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == b"x"
