"""Two harnesses never work on one store; it remembers where its objects are; and it may be moved with its rounds."""

import re
import shutil
import subprocess
import sys
from contextlib import closing

import pytest
from helpers import ROOT

from harness.digest import digest_bytes
from harness.errors import UserError
from harness.object_folder import FolderObjects
from harness.store import Store


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


# --- where its objects are


def test_a_store_remembers_where_its_objects_are(tmp_path):
    place = str(tmp_path / "shared")
    with closing(Store(tmp_path / "store", place)) as store, store.writing():
        digest = store.objects.add(b"x")
    for named in (None, place, (tmp_path / "shared").as_uri()):
        with closing(Store(tmp_path / "store", named)) as again:
            assert again.objects.place == place
    assert FolderObjects(tmp_path / "shared").read(digest) == b"x"


def test_its_own_folder_may_be_named_and_is_nothing_to_remember(tmp_path):
    with closing(Store(tmp_path / "store", str(tmp_path / "store" / "objects"))) as store:
        digest = store.objects.add(b"x")
    (tmp_path / "store").rename(tmp_path / "moved")
    with closing(Store(tmp_path / "moved")) as store:
        assert store.objects.read(digest) == b"x"


@pytest.mark.parametrize("first", [None, "shared"])
def test_a_store_with_its_objects_elsewhere_is_refused(tmp_path, first):
    place = None if first is None else str(tmp_path / first)
    with closing(Store(tmp_path / "store", place)) as store, store.writing():
        known = store.objects.place
    other = str(tmp_path / "other")
    line = f"{tmp_path}/store: its objects are at {known} and not at {other}; name that, or another store"
    with pytest.raises(UserError, match=re.escape(line)):
        Store(tmp_path / "store", other)
    with closing(Store(tmp_path / "store")) as store:
        assert store.objects.place == known


def test_a_place_that_could_not_be_used_is_not_remembered(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/owner.txt").write_text("another store")
    taken = pytest.raises(UserError, match="holds the objects of another store")
    with closing(Store(tmp_path / "store", str(tmp_path / "taken"))) as store, taken, store.writing():
        pass
    for _ in range(2):
        with closing(Store(tmp_path / "store", str(tmp_path / "right"))) as store, store.writing():
            pass
    with closing(Store(tmp_path / "store")) as store:
        assert store.objects.place == str(tmp_path / "right")


def test_two_who_opened_it_anew_do_not_both_say_where_its_objects_are(tmp_path):
    places = [str(tmp_path / "one"), str(tmp_path / "two"), None]
    first, second, third = (Store(tmp_path / "store", place) for place in places)
    with closing(first), closing(second), closing(third):
        with first.writing():
            pass
        for late in (second, third):
            with pytest.raises(UserError, match=f"its objects are at {places[0]} and not at"), late.writing():
                pass
    assert (tmp_path / "store/place").read_text() == places[0]


def test_a_shared_folder_that_is_not_mounted_is_not_taken_for_an_empty_one(tmp_path):
    with closing(Store(tmp_path / "store", str(tmp_path / "mounted/objects"))) as store, store.writing():
        store.index.add_images([store.objects.add(b"x")])
    (tmp_path / "mounted").rename(tmp_path / "away")
    with closing(Store(tmp_path / "store")) as store:
        line = f"{tmp_path}/mounted/objects: has no owner.txt, though this store has its objects there; mount or"
        with pytest.raises(UserError, match=re.escape(line)), store.writing():
            pass
    shutil.rmtree(tmp_path / "mounted")
    (tmp_path / "away").rename(tmp_path / "mounted")
    with closing(Store(tmp_path / "store")) as store, store.writing():
        assert store.objects.read(digest_bytes(b"x")) == b"x"


@pytest.mark.parametrize("place", [None, "shared"], ids=["the first one's own folder", "another"])
def test_two_stores_do_not_share_a_place(tmp_path, place):
    """One's clean-up would remove what only the other needs."""
    place = place and str(tmp_path / place)
    with closing(Store(tmp_path / "one", place)) as one, one.writing():
        digest, place = one.objects.add(b"x"), one.objects.place
    with closing(Store(tmp_path / "two", place)) as two:
        with pytest.raises(UserError, match=f"{place}: holds the objects of another store"), two.writing():
            pass
        assert two.objects.read(digest) == b"x", "reading is no harm"


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("s3://user:secret@bucket/x", "objects: a URL is PROTOCOL://BUCKET/PATH and nothing else"),
        ("file://user:secret@localhost/x", "objects: a URL is PROTOCOL://BUCKET/PATH and nothing else"),
        ("s3://user:secret@[bucket/x", "objects: this is no URL; write PROTOCOL://BUCKET/PATH"),
        ("s3://user:secret@℀/x", "objects: this is no URL; write PROTOCOL://BUCKET/PATH"),
        ("s3://[x", "objects: this is no URL; write PROTOCOL://BUCKET/PATH"),
        ("s3://bucket/x?endpoint=y", "objects: a URL is PROTOCOL://BUCKET/PATH and nothing else"),
        ("simplecache::s3://bucket/x", "objects: a URL is PROTOCOL://BUCKET/PATH and nothing else"),
        ("s3:///x", "objects: a URL is PROTOCOL://BUCKET/PATH and nothing else"),
        ("s4://bucket/x", "s4://bucket/x: Protocol not known: s4; use s3://, gs:// or a folder"),
        ("oci://bucket/x", "oci://bucket/x: a package for this protocol is missing"),
        ("file://elsewhere/x", "file://elsewhere/x: a folder of another machine; write file:///FOLDER"),
    ],
)
def test_what_can_be_no_place(tmp_path, place, line):
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        Store(tmp_path / "store", place)
    assert "secret" not in str(caught.value)
    assert len(caught.value.faults) == 1
    assert not (tmp_path / "store/place").exists()
    with closing(Store(tmp_path / "store", str(tmp_path / "right"))) as store, store.writing():
        pass
    with pytest.raises(UserError) as caught:
        Store(tmp_path / "store", place)
    assert "secret" not in str(caught.value)


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
    digest = store.objects.add(b"x")
    (store.objects.path_of(digest).parent / ".0123456789abcdef").write_bytes(b"hal")
    (store.code / ".0123456789abcdef").mkdir()
    (store.code / "kept").mkdir()
    for name in ("kept", "gone"):
        (store.listings / name).write_text("{}")
    with store.writing():
        assert files_below(store.objects.path_of(digest).parent) == [store.objects.path_of(digest)]
        assert [path.name for path in store.code.iterdir()] == ["kept"]
        assert [path.name for path in store.listings.iterdir()] == ["kept"]
        (store.work / "late" / "output").mkdir(parents=True)
    assert list(store.work.iterdir()) == []
