"""Whatever moment the harness is killed at, an object is there whole or not at all; one that rots is found out and made
again; and two harnesses never work on one store."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from helpers import ROOT, write_submission

from harness.atomic import write_atomic
from harness.digest import digest_bytes
from harness.errors import StoreDamagedError, UserError
from harness.store import Store
from harness.weights import Weights


@pytest.fixture
def store(tmp_path):
    with closing(Store(tmp_path / "store")) as store:
        yield store


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_folder_says_whose_it_is(store):
    assert "adversarial-harness" in (store.path / "README.txt").read_text()


def test_the_identity_is_for_life(store):
    first = store.identity
    assert len(first) == 16
    with closing(Store(store.path)) as again:
        assert again.identity == first
    with closing(Store(store.path.parent / "other")) as other:
        assert other.identity != first


def test_a_store_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file: the store cannot be written \(.*\); choose another output"):
        Store(tmp_path / "file")


# --- objects


@pytest.mark.parametrize("data", [b"", b"x", bytes(100_000)], ids=len)
def test_an_object_is_found_by_its_digest(store, data):
    digest = store.add_object(data)
    assert digest == digest_bytes(data)
    assert store.read_object(digest) == data
    assert store.object_digests() == {digest}


def test_an_object_is_read_only_and_alone(store):
    path = store.object_path(store.add_object(b"x"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert files_below(store.objects) == [path]


def test_adding_again_does_not_write_again(store):
    path = store.object_path(store.add_object(b"x"))
    before = path.stat()
    store.add_object(b"x")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_threads_may_add_the_same_objects_at_once(store):
    blobs = [bytes([number]) * 10_000 for number in range(30)]
    start = threading.Barrier(8)

    def add(_):
        start.wait()
        return [store.add_object(blob) for blob in blobs]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(add, range(8)))
    digests = [digest_bytes(blob) for blob in blobs]
    assert found == [digests] * 8
    assert store.object_digests() == set(digests)
    assert len(files_below(store.objects)) == len(blobs)
    assert [store.read_object(digest) for digest in digests] == blobs


def test_an_object_that_cannot_be_written_leaves_nothing(store, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store.add_object(b"x")
    assert files_below(store.objects) == []


def test_an_object_that_rotted_is_found_out_and_made_again(store):
    digest = store.add_object(b"good")
    path = store.object_path(digest)
    path.chmod(0o644)
    path.write_bytes(b"evil")
    with pytest.raises(StoreDamagedError, match=f"object {digest} is damaged"):
        store.read_object(digest)
    assert store.object_digests() == set()
    assert store.add_object(b"good") == digest
    assert store.read_object(digest) == b"good"


@pytest.mark.parametrize("kept", [0, 3])
def test_an_object_that_was_cut_off_is_replaced_when_it_is_made_again(store, kept):
    """A power cut leaves a name without its bytes."""
    digest = store.add_object(b"good")
    damage(store, digest, b"good"[:kept])
    assert store.add_object(b"good") == digest
    assert store.read_object(digest) == b"good"


def test_all_damaged_objects_are_removed_at_once(store):
    digests = [store.add_object(bytes([number])) for number in range(6)]
    for number, digest in enumerate(digests[:4]):
        damage(store, digest, bytes(number))
    assert store.remove_damaged() == 4
    assert store.object_digests() == set(digests[4:])
    assert store.remove_damaged() == 0


def test_an_object_that_is_missing(store, tmp_path):
    with pytest.raises(StoreDamagedError, match="object 0000 is missing"):
        store.read_object("0000")
    with pytest.raises(StoreDamagedError, match="object 0000 is missing"):
        store.link_object("0000", tmp_path / "x")


def test_a_link_is_the_object_itself(store, tmp_path):
    digest = store.add_object(b"x")
    store.link_object(digest, tmp_path / "link.png")
    assert (tmp_path / "link.png").samefile(store.object_path(digest))


def damage(store, digest, data=b"evil"):
    path = store.object_path(digest)
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_damaged_object_is_not_linked_but_removed(store, tmp_path):
    """What reads it would be blamed for what it made of it."""
    digest = store.add_object(b"good")
    damage(store, digest)
    with closing(Store(store.path)) as later, pytest.raises(StoreDamagedError, match=f"object {digest} is damaged"):
        later.link_object(digest, tmp_path / "link")
    assert not (tmp_path / "link").exists()
    assert store.object_digests() == set()


def test_an_object_is_looked_at_once_in_the_life_of_a_process(store, tmp_path, monkeypatch):
    digests = [store.add_object(data) for data in (b"one", b"two")]
    looked = []
    read = store.read_object
    monkeypatch.setattr(store, "read_object", lambda digest: looked.append(digest) or read(digest))
    for number, digest in enumerate([*digests, *digests, digests[0]]):
        store.link_object(digest, tmp_path / str(number))
    assert looked == digests
    store.remove_objects(digests[:1])
    with pytest.raises(StoreDamagedError, match="is missing"):
        store.link_object(digests[0], tmp_path / "gone")


def test_what_was_being_written_at_a_kill_is_removed_and_counted(store):
    digest = store.add_object(b"x")
    unfinished = store.object_path(digest).parent / ".0123456789abcdef"
    unfinished.write_bytes(b"hal")
    assert store.remove_unfinished() == 3
    assert store.remove_unfinished() == 0
    assert not unfinished.exists()
    assert store.object_digests() == {digest}


def test_what_is_removed_is_gone_and_counted(store):
    digests = [store.add_object(bytes(size)) for size in (10, 20, 30)]
    assert store.remove_objects(digests[:2]) == 30
    assert store.object_digests() == {digests[2]}


def test_half_an_object_is_none(store):
    """What a kill leaves behind lies under another name."""
    digest = store.add_object(b"x")
    (store.object_path(digest).parent / ".0123456789abcdef").write_bytes(b"hal")
    assert store.object_digests() == {digest}


# --- rounds


def test_rounds_and_store_may_be_moved_together(tmp_path):
    (tmp_path / "here").mkdir()
    with closing(Store(tmp_path / "here" / "shared")) as store:
        for output in ("b", "a", "b", "deep/c"):
            store.add_round(tmp_path / "here" / output)
        assert store.rounds() == [tmp_path / "here" / name for name in ("a", "b", "deep/c")]
        assert store.index.rounds() == ["../a", "../b", "../deep/c"]
    (tmp_path / "here").rename(tmp_path / "there")
    with closing(Store(tmp_path / "there" / "shared")) as store:
        assert store.rounds() == [tmp_path / "there" / name for name in ("a", "b", "deep/c")]


def test_a_round_is_forgotten_by_its_folder_also_when_that_is_gone(store, tmp_path):
    for name in ("a", "b"):
        store.add_round(tmp_path / name)
    store.forget_round(tmp_path / "a")
    store.forget_round(tmp_path / "unknown")
    assert store.rounds() == [tmp_path / "b"]


def test_a_round_behind_a_link_is_the_folder_itself(store, tmp_path):
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "deep")
    store.add_round(tmp_path / "link" / "out")
    assert store.rounds() == [tmp_path / "disk" / "deep" / "out"]
    store.forget_round(tmp_path / "link" / "out")
    assert store.rounds() == []


def test_the_round_of_a_store_inside_its_output(store):
    store.add_round(store.path.parent)
    assert store.rounds() == [store.path.parent]


# --- one at a time

HOLD = """
import sys
from contextlib import closing
from pathlib import Path
from harness.errors import UserError
from harness.store import Store
with closing(Store(Path(sys.argv[1]))) as store:
    try:
        with store.writing():
            print("held", flush=True)
            sys.stdin.readline()
    except UserError as error:
        print(error, flush=True)
"""


@pytest.fixture
def other_process(store):
    """Another process that asks for the store; what it says first, and itself."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, store.path],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process.stdout.readline().strip(), process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_told_to_wait(store, other_process):
    with store.writing():
        said, _ = other_process()
    assert said == f"{store.path}: another harness is at work on this store; wait for it to end"
    said, _ = other_process()
    assert said == "held"


def test_the_lock_is_gone_with_the_process_however_it_ends(store, other_process):
    said, process = other_process()
    assert said == "held"
    with pytest.raises(UserError, match="another harness is at work"), store.writing():
        pass
    process.kill()
    process.wait()
    with store.writing():
        pass


def test_what_a_crash_left_in_work_is_removed_by_the_next_writer(store):
    leftover = store.work / "leftover" / "output"
    leftover.mkdir(parents=True)
    (leftover / "file").write_bytes(b"x")
    (leftover / "link").symlink_to(store.path)
    with store.writing():
        assert list(store.work.iterdir()) == []
    assert (store.path / "README.txt").exists()


def test_what_a_killed_harness_left_is_removed_by_the_next_writer(store):
    """Half an object, half a copy of code; and what its calls, which are ended only later, still wrote into work."""
    digest = store.add_object(b"x")
    (store.object_path(digest).parent / ".0123456789abcdef").write_bytes(b"hal")
    (store.code / ".0123456789abcdef").mkdir()
    (store.code / "kept").mkdir()
    with store.writing():
        assert files_below(store.objects) == [store.object_path(digest)]
        assert [path.name for path in store.code.iterdir()] == ["kept"]
        (store.work / "late" / "output").mkdir(parents=True)
    assert list(store.work.iterdir()) == []


class Disk:
    """What `os.statvfs` says of a disk."""

    f_frsize, f_blocks, f_bavail, f_files, f_favail = 4096, 10**6, 10**5, 10**6, 10**5

    def __init__(self, **changes):
        vars(self).update(changes)


@pytest.mark.parametrize("disk", [Disk(f_bavail=10), Disk(f_favail=0)], ids=["no room", "no inodes"])
@pytest.mark.parametrize("error", [None, shutil.Error([("a", "b", "why")])], ids=["ended well", "copy failed"])
def test_what_was_done_on_a_full_disk_does_not_count(store, monkeypatch, disk, error):
    monkeypatch.setattr(os, "statvfs", lambda path: disk)

    def work():
        with store.work_folder():
            if error:
                raise error

    with pytest.raises(OSError, match="No space left") as caught:
        work()
    assert caught.value.errno == errno.ENOSPC
    assert list(store.work.iterdir()) == []


@pytest.mark.parametrize("disk", [Disk(), Disk(f_files=0, f_favail=0), Disk(f_blocks=0, f_bavail=0)])
def test_a_disk_that_counts_nothing_is_not_full(store, monkeypatch, disk):
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    with store.work_folder():
        pass
    with pytest.raises(shutil.Error), store.work_folder():
        raise shutil.Error


def test_a_work_folder_lasts_as_long_as_its_block(store):
    with store.work_folder() as folder, store.work_folder() as second:
        assert folder != second
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "file").touch()
        os.link(folder / "a" / "b" / "file", second / "same-file-system")
    assert list(store.work.iterdir()) == []

    def fail():
        with store.work_folder():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(store.work.iterdir()) == []


# --- code


def test_kept_code_is_a_copy_that_nobody_changes(store, tmp_path):
    folder = write_submission(tmp_path / "sub", files={"data/weights": "1", "__pycache__/x": "x"})
    (folder / "data").chmod(0o700)
    (folder / "data/weights").chmod(0o600)
    kept = store.keep_code("digest", folder)
    assert [path.relative_to(kept).as_posix() for path in files_below(kept)] == [
        "data/weights",
        "metadata.json",
        "run.sh",
    ]
    modes = {name: stat.S_IMODE((kept / name).stat().st_mode) for name in ("run.sh", "data", "data/weights")}
    assert modes == {"run.sh": 0o555, "data": 0o755, "data/weights": 0o444}
    (folder / "run.sh").write_text("changed")
    assert store.keep_code("digest", folder) == kept
    assert "changed" not in (kept / "run.sh").read_text()
    assert [path.name for path in store.code.iterdir()] == ["digest"]


def test_code_whose_copy_fails_is_not_kept(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.keep_code("digest", tmp_path / "absent")
    assert list(store.code.iterdir()) == []


@pytest.fixture
def weights(tmp_path):
    """Weights that lie outside the submission."""
    path = tmp_path / "cache/tiny.safetensors"
    write_atomic(path, b"1")
    path.chmod(0o644)
    return Weights("tiny", path, digest_bytes(b"1"))


def test_weights_from_elsewhere_become_a_file_of_the_copy(store, tmp_path, weights):
    folder = write_submission(tmp_path / "sub")
    kept = store.keep_code("digest", folder, [weights])
    assert (kept / "weights/tiny.safetensors").samefile(weights.path)
    assert sorted(path.name for path in folder.iterdir()) == ["metadata.json", "run.sh"]
    before = kept.stat()
    after = store.keep_code("digest", folder, [weights]).stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns), "it is not made again"


def test_weights_beside_files_of_its_own(store, tmp_path, weights):
    folder = write_submission(tmp_path / "sub", files={"weights/own.safetensors": "2"})
    own = Weights("own", folder / "weights/own.safetensors", digest_bytes(b"2"))
    kept = store.keep_code("digest", folder, [own, weights])
    found = {path.name: path.read_text() for path in (kept / "weights").iterdir()}
    assert found == {"own.safetensors": "2", "tiny.safetensors": "1"}
    assert not (kept / own.place).samefile(own.path)


def test_weights_that_are_replaced_as_a_whole_leave_the_copy_as_it_was(store, tmp_path, weights):
    kept = store.keep_code("digest", write_submission(tmp_path / "sub"), [weights])
    write_atomic(weights.path, b"2")
    assert (kept / weights.place).read_bytes() == b"1"


def test_a_copy_whose_weights_were_rewritten_in_place_is_made_anew(store, tmp_path, weights):
    folder = write_submission(tmp_path / "sub")
    kept = store.keep_code("digest", folder, [weights])
    weights.path.write_bytes(b"2")
    assert (kept / weights.place).read_bytes() == b"2", "that is what a link does"
    write_atomic(weights.path, b"1")
    assert store.keep_code("digest", folder, [weights]) == kept
    assert (kept / weights.place).read_bytes() == b"1"
    assert [path.name for path in store.code.iterdir()] == ["digest"]


def test_weights_that_change_while_they_are_taken_in_stop_it(store, tmp_path, weights):
    weights.path.write_bytes(b"2")
    with pytest.raises(UserError, match="the weights tiny changed while they were read; run again"):
        store.keep_code("digest", write_submission(tmp_path / "sub"), [weights])
