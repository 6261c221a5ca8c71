"""Whatever moment the harness is killed at, an object of a folder is there whole or not at all; one that rots is found
out and made again; and what is there is not written a second time."""

import errno
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import object_folder
from harness.digest import digest_bytes
from harness.errors import InfrastructureError, StoreDamagedError
from harness.object_folder import FolderObjects


@pytest.fixture
def objects(tmp_path):
    return FolderObjects(tmp_path / "deep" / "objects")


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage(objects, digest, data=b"evil"):
    path = objects.path_of(digest)
    path.chmod(0o644)
    path.write_bytes(data)


def test_an_object_is_read_only_and_alone(objects):
    path = objects.path_of(objects.add(b"x"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert files_below(objects.path) == [path]


def test_so_is_one_that_was_a_file(objects, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "file").chmod(0o755)
    path = objects.path_of(objects.add_file(tmp_path / "file"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert not path.samefile(tmp_path / "file")
    assert files_below(objects.path) == [path]


@pytest.mark.parametrize("way", ["bytes", "file"])
def test_adding_again_does_not_write_again(objects, tmp_path, way):
    (tmp_path / "file").write_bytes(b"x")
    path = objects.path_of(objects.add(b"x"))
    before = path.stat()
    assert objects.path_of(objects.add(b"x") if way == "bytes" else objects.add_file(tmp_path / "file")) == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_threads_may_add_the_same_objects_at_once(objects):
    blobs = [bytes([number]) * 10_000 for number in range(30)]
    start = threading.Barrier(8)

    def add(_):
        start.wait()
        return [objects.add(blob) for blob in blobs]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(add, range(8)))
    digests = [digest_bytes(blob) for blob in blobs]
    assert found == [digests] * 8
    assert set(objects.digests()) == set(digests)
    assert len(files_below(objects.path)) == len(blobs)
    assert [objects.read(digest) for digest in digests] == blobs


def test_an_object_that_cannot_be_written_leaves_nothing(objects, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        objects.add(b"x")
    assert files_below(objects.path) == []


def test_a_file_that_changes_while_it_is_added_is_no_object(objects, tmp_path, monkeypatch):
    """What is copied is looked at, and not only what was read before."""
    (tmp_path / "file").write_bytes(b"good")
    copy = object_folder.shutil.copyfile

    def change_first(source, target):
        source.write_bytes(b"evil")
        return copy(source, target)

    monkeypatch.setattr(object_folder.shutil, "copyfile", change_first)
    with pytest.raises(InfrastructureError, match="file: changed while it was read"):
        objects.add_file(tmp_path / "file")
    assert files_below(objects.path) == []


@pytest.mark.parametrize("kept", [0, 3])
@pytest.mark.parametrize("way", ["bytes", "file"])
def test_an_object_that_was_cut_off_is_replaced_when_it_is_made_again(objects, tmp_path, kept, way):
    """A power cut leaves a name without its bytes."""
    (tmp_path / "file").write_bytes(b"good")
    digest = objects.add(b"good")
    damage(objects, digest, b"good"[:kept])
    assert digest == (objects.add(b"good") if way == "bytes" else objects.add_file(tmp_path / "file"))
    assert objects.read(digest) == b"good"


def test_an_object_that_is_a_link_to_the_same_file_leaves_no_other_name(objects, tmp_path):
    """As when two threads bring one object from a shared folder on the same disk."""
    (tmp_path / "shared").write_bytes(b"x")
    for _ in range(2):
        with objects.making(digest_bytes(b"x")) as temporary:
            os.link(tmp_path / "shared", temporary)
    assert files_below(objects.path) == [objects.path_of(digest_bytes(b"x"))]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_note_is_made_once_and_whole(objects, monkeypatch, links):
    def refuse(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for data in (b"one", b"two"):
        objects.add_note("note.txt", data)
    assert objects.read_note("note.txt") == b"one"
    assert [path.name for path in objects.path.iterdir()] == ["note.txt"]


def test_a_link_is_the_object_itself(objects, tmp_path):
    digest = objects.add(b"x")
    objects.link(digest, tmp_path / "link.png")
    assert (tmp_path / "link.png").samefile(objects.path_of(digest))


def test_an_object_is_looked_at_once_in_the_life_of_a_process(objects, tmp_path, monkeypatch):
    digests = [objects.add(data) for data in (b"one", b"two")]
    looked = []
    look = object_folder.digest_file
    monkeypatch.setattr(object_folder, "digest_file", lambda path: looked.append(path) or look(path))
    for number, digest in enumerate([*digests, *digests, digests[0]]):
        objects.link(digest, tmp_path / str(number))
    assert looked == [objects.path_of(digest) for digest in digests]
    objects.remove(digests[:1])
    with pytest.raises(StoreDamagedError, match="is missing"):
        objects.link(digests[0], tmp_path / "gone")


def test_what_is_remembered_of_objects_is_bounded(objects, tmp_path, monkeypatch):
    monkeypatch.setattr(object_folder, "MOST_SOUND", 2)
    digests = [objects.add(bytes([number])) for number in range(5)]
    for _ in range(2):
        assert [objects.read(digest) for digest in digests] == [bytes([number]) for number in range(5)]
    assert len(objects._sound) <= 2


def test_what_was_being_written_at_a_kill_is_none_and_is_removed_and_counted(objects):
    digest = objects.add(b"x")
    unfinished = objects.path_of(digest).parent / ".0123456789abcdef"
    unfinished.write_bytes(b"hal")
    assert list(objects.digests()) == [digest]
    assert objects.remove_unfinished() == 3
    assert objects.remove_unfinished() == 0
    assert not unfinished.exists()
    assert list(objects.digests()) == [digest]


def test_all_of_one_beginning_are_cleared(objects):
    digests = [objects.add(bytes([number])) for number in range(50)]
    begin = digests[0][:2]
    assert objects.clear(begin) == sum(digest.startswith(begin) for digest in digests)
    assert set(objects.digests()) == {digest for digest in digests if not digest.startswith(begin)}
    assert objects.clear(begin) == 0
