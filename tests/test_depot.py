"""A call's folder is gone after it, and no longer there than its process; code is kept as a copy that nobody changes;
and another machine gets that code with the same bytes and modes, whole or not at all."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from builders import first_pixel_dataset, read_index, write_tournament
from helpers import ANSWER, COPY, ROOT, write_submission
from hypothesis import given
from hypothesis import strategies as st

from harness.atomic import write_atomic
from harness.depot import CodeLostError, Depot
from harness.digest import digest_bytes
from harness.errors import StoreDamagedError, UserError
from harness.object_folder import FolderObjects
from harness.objects import open_objects
from harness.weights import Weights


def open_depot(folder, name="here"):
    """A machine's depot; all of them have their objects in one folder."""
    return Depot(folder / name, open_objects(str(folder / "shared"), folder / name / "objects"))


@pytest.fixture
def depot(tmp_path):
    return open_depot(tmp_path)


@pytest.fixture
def elsewhere(tmp_path):
    return open_depot(tmp_path, "elsewhere")


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


# --- work


class Disk:
    """What `os.statvfs` says of a disk."""

    f_frsize, f_blocks, f_bavail, f_files, f_favail = 4096, 10**6, 10**5, 10**6, 10**5

    def __init__(self, **changes):
        vars(self).update(changes)


@pytest.mark.parametrize("disk", [Disk(f_bavail=10), Disk(f_favail=0)], ids=["no room", "no inodes"])
@pytest.mark.parametrize("error", [None, shutil.Error([("a", "b", "why")])], ids=["ended well", "copy failed"])
def test_what_was_done_on_a_full_disk_does_not_count(depot, monkeypatch, disk, error):
    monkeypatch.setattr(os, "statvfs", lambda path: disk)

    def work():
        with depot.work_folder():
            if error:
                raise error

    with pytest.raises(OSError, match="No space left") as caught:
        work()
    assert caught.value.errno == errno.ENOSPC
    assert list(depot.work.iterdir()) == []


@pytest.mark.parametrize("disk", [Disk(), Disk(f_files=0, f_favail=0), Disk(f_blocks=0, f_bavail=0)])
def test_a_disk_that_counts_nothing_is_not_full(depot, monkeypatch, disk):
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    with depot.work_folder():
        pass
    with pytest.raises(shutil.Error), depot.work_folder():
        raise shutil.Error


def test_what_was_done_in_a_folder_that_somebody_removed_does_not_count(depot):
    def work():
        with depot.work_folder() as folder:
            (folder / "output").mkdir()
            shutil.rmtree(folder)

    with pytest.raises(FileNotFoundError, match="was removed during the call"):
        work()
    assert list(depot.work.iterdir()) == []


def test_a_work_folder_lasts_as_long_as_its_block(depot):
    with depot.work_folder() as folder, depot.work_folder() as second:
        assert folder != second
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "file").touch()
        os.link(folder / "a" / "b" / "file", second / "same-file-system")
    assert list(depot.work.iterdir()) == []

    def fail():
        with depot.work_folder():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(depot.work.iterdir()) == []


# --- code


def test_kept_code_is_a_copy_that_nobody_changes(depot, tmp_path):
    folder = write_submission(tmp_path / "sub", files={"data/weights": "1", "__pycache__/x": "x"})
    (folder / "data").chmod(0o700)
    (folder / "data/weights").chmod(0o600)
    kept = depot.keep_code("digest", folder)
    assert [path.relative_to(kept).as_posix() for path in files_below(kept)] == [
        "data/weights",
        "metadata.json",
        "run.sh",
    ]
    modes = {name: stat.S_IMODE((kept / name).stat().st_mode) for name in ("run.sh", "data", "data/weights")}
    assert modes == {"run.sh": 0o555, "data": 0o755, "data/weights": 0o444}
    (folder / "run.sh").write_text("changed")
    assert depot.keep_code("digest", folder) == kept
    assert "changed" not in (kept / "run.sh").read_text()
    assert [path.name for path in depot.code.iterdir()] == ["digest"]


def test_code_whose_copy_fails_is_not_kept(depot, tmp_path):
    with pytest.raises(FileNotFoundError):
        depot.keep_code("digest", tmp_path / "absent")
    assert list(depot.code.iterdir()) == []


HARMS = {
    "a file is gone": lambda kept: (kept / "data/weights").unlink(),
    "all in a folder is gone": lambda kept: shutil.rmtree(kept / "data"),
    "all is gone": shutil.rmtree,
    "a file is cut off": lambda kept: os.truncate(kept / "run.sh", 1),
    "a mode is another": lambda kept: (kept / "run.sh").chmod(0o444),
    "there is more": lambda kept: (kept / "more").touch(),
    "a link stands for it": lambda kept: (kept / "run.sh").unlink() or (kept / "run.sh").symlink_to("data/weights"),
}


@pytest.fixture(params=HARMS)
def harm(request):
    return HARMS[request.param]


def test_kept_code_of_which_a_part_is_gone_is_made_anew(depot, tmp_path, harm):
    """A cleaner of old files takes them one by one."""
    folder = write_submission(tmp_path / "sub", files={"data/weights": "1"})
    kept = depot.keep_code("digest", folder)
    before = read_tree(kept)
    harm(kept)
    assert depot.keep_code("digest", folder) == kept
    assert read_tree(kept) == before
    assert [path.name for path in depot.code.iterdir()] == ["digest"]


def test_code_from_elsewhere_of_which_a_part_is_gone_is_made_anew(depot, elsewhere, tmp_path, harm):
    kept = depot.keep_code("digest", write_submission(tmp_path / "sub", files={"data/weights": "1"}))
    tree = depot.share_code(kept)
    harm(elsewhere.take_code(tree, "digest"))
    for _ in range(2):
        with elsewhere.unharmed(elsewhere.take_code(tree, "digest")):
            pass
    assert read_tree(elsewhere.code / "digest") == read_tree(kept)


def test_what_was_played_on_harmed_code_does_not_count(depot, tmp_path, harm):
    folder = write_submission(tmp_path / "sub", files={"data/weights": "1"})
    kept = depot.keep_code("digest", folder)
    with depot.unharmed(kept), depot.unharmed(kept):
        pass
    with pytest.raises(CodeLostError, match="is gone since the call began"), depot.unharmed(kept):
        harm(kept)
    with (
        pytest.raises(CodeLostError, match=f"{kept}: a part of this copy of a submission is gone"),
        depot.unharmed(kept),
    ):
        pytest.fail("it is played")


def test_nor_does_what_was_played_while_it_was_made_anew(depot, tmp_path, harm):
    """Whoever else plays there may do that, and the call may have begun in between."""
    folder = write_submission(tmp_path / "sub", files={"data/weights": "1"})
    kept = depot.keep_code("digest", folder)

    def harm_and_mend():
        harm(kept)
        depot.keep_code("digest", folder)

    with pytest.raises(CodeLostError), depot.unharmed(kept):
        harm_and_mend()


def test_a_run_goes_on_with_code_that_is_made_anew(tmp_path, run_main):
    """In mid-call a file goes that the submission needs."""
    first_pixel_dataset(tmp_path / "dataset")
    cleaner = f"[ -e {tmp_path}/done ] || {{ touch {tmp_path}/done; rm -f {tmp_path}/out/store/code/*/helper; }}"
    program = f'#!/bin/sh\n./helper "$1" "$2" || exit 127\n{cleaner}\n'
    folder = write_submission(tmp_path / "submissions/attack", "attack", program, files={"helper": COPY})
    (folder / "helper").chmod(0o755)
    write_submission(tmp_path / "submissions/defense", "defense", ANSWER % 1)
    assert run_main("run", write_tournament(tmp_path / "tiny.yaml", batch_size=1, slots=1)) == 0
    assert (tmp_path / "done").exists()
    assert set(read_index(tmp_path / "out/store", "SELECT verdict FROM calls")) == {("ok",)}


@pytest.fixture
def weights(tmp_path):
    """Weights that lie outside the submission."""
    path = tmp_path / "cache/tiny.safetensors"
    write_atomic(path, b"1")
    path.chmod(0o644)
    return Weights("tiny", path, digest_bytes(b"1"))


def test_weights_from_elsewhere_become_a_file_of_the_copy(depot, tmp_path, weights):
    folder = write_submission(tmp_path / "sub")
    kept = depot.keep_code("digest", folder, [weights])
    assert (kept / "weights/tiny.safetensors").samefile(weights.path)
    assert sorted(path.name for path in folder.iterdir()) == ["metadata.json", "run.sh"]
    before = kept.stat()
    after = depot.keep_code("digest", folder, [weights]).stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns), "it is not made again"


def test_weights_beside_files_of_its_own(depot, tmp_path, weights):
    folder = write_submission(tmp_path / "sub", files={"weights/own.safetensors": "2"})
    own = Weights("own", folder / "weights/own.safetensors", digest_bytes(b"2"))
    kept = depot.keep_code("digest", folder, [own, weights])
    found = {path.name: path.read_text() for path in (kept / "weights").iterdir()}
    assert found == {"own.safetensors": "2", "tiny.safetensors": "1"}
    assert not (kept / own.place).samefile(own.path)


def test_weights_that_are_replaced_as_a_whole_leave_the_copy_as_it_was(depot, tmp_path, weights):
    kept = depot.keep_code("digest", write_submission(tmp_path / "sub"), [weights])
    write_atomic(weights.path, b"2")
    assert (kept / weights.place).read_bytes() == b"1"


def test_a_copy_whose_weights_were_rewritten_in_place_is_made_anew(depot, tmp_path, weights):
    folder = write_submission(tmp_path / "sub")
    kept = depot.keep_code("digest", folder, [weights])
    weights.path.write_bytes(b"2")
    assert (kept / weights.place).read_bytes() == b"2", "that is what a link does"
    write_atomic(weights.path, b"1")
    assert depot.keep_code("digest", folder, [weights]) == kept
    assert (kept / weights.place).read_bytes() == b"1"
    assert [path.name for path in depot.code.iterdir()] == ["digest"]


def test_weights_that_change_while_they_are_taken_in_stop_it(depot, tmp_path, weights):
    weights.path.write_bytes(b"2")
    with pytest.raises(UserError, match="the weights tiny changed while they were read; run again"):
        depot.keep_code("digest", write_submission(tmp_path / "sub"), [weights])


HOLD = """
import sys
from pathlib import Path
from harness.depot import Depot
from harness.object_folder import FolderObjects
path = Path(sys.argv[1])
with Depot(path, FolderObjects(path / "objects")).work_folder() as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    sys.stdin.readline()
"""


def test_what_a_process_left_is_swept_and_what_one_uses_is_not(depot):
    command = [sys.executable, "-c", HOLD, depot.path]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        folder = Path(process.stdout.readline().strip())
        (depot.code / ".half").mkdir()
        (depot.code / "kept").mkdir()
        with depot.work_folder() as own:
            assert depot.sweep() == 1
            assert (folder / "file").exists()
            assert own.exists()
        process.kill()
        process.wait()
    assert depot.sweep() == 1
    assert list(depot.work.iterdir()) == []
    assert [path.name for path in depot.code.iterdir()] == ["kept"]


# --- code for other machines


def is_name(name):
    return name not in (".", "..") and len(os.fsencode(name)) < 100


NAMES = st.one_of(
    st.sampled_from(["a", "b", "run.sh", "weights", "-", "...", os.fsdecode(b"\xff"), "a\nb", "__pycache__", ".git"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20),
).filter(is_name)
FILES = st.tuples(st.binary(max_size=50), st.booleans())
TREES = st.dictionaries(
    NAMES, st.recursive(FILES, lambda inside: st.dictionaries(NAMES, inside, max_size=3), max_leaves=8), max_size=4
)


def write_tree(folder, tree):
    folder.mkdir()
    for name, inside in tree.items():
        if isinstance(inside, dict):
            write_tree(folder / name, inside)
        else:
            (folder / name).write_bytes(inside[0])
            (folder / name).chmod(0o555 if inside[1] else 0o444)


def read_tree(folder):
    return {
        path.name: read_tree(path) if path.is_dir() else (path.read_bytes(), stat.S_IMODE(path.stat().st_mode) == 0o555)
        for path in folder.iterdir()
    }


@given(TREES)
def test_any_tree_comes_back_on_another_machine(tree):
    with TemporaryDirectory() as name:
        here, there = (open_depot(Path(name), machine) for machine in ("here", "there"))
        write_tree(here.code / "kept", tree)
        digest = here.share_code(here.code / "kept")
        taken = there.take_code(digest, "kept")
        assert taken == there.code / "kept"
        assert read_tree(taken) == tree
        assert here.share_code(taken) == digest
        modes = {stat.S_IMODE(path.stat().st_mode) for path in taken.rglob("*")}
        assert modes <= {0o755, 0o555, 0o444}


def test_equal_files_are_one_object(depot):
    write_tree(depot.code / "kept", {"a": (b"same", True), "b": (b"same", False), "c": {"a": (b"same", True)}})
    depot.share_code(depot.code / "kept")
    assert len(set(depot.objects.digests())) == 2


def test_code_that_is_there_is_not_taken_again(depot, elsewhere):
    write_tree(depot.code / "kept", {"run.sh": (b"x", True)})
    tree = depot.share_code(depot.code / "kept")
    before = elsewhere.take_code(tree, "kept").stat()
    depot.objects.remove(depot.objects.digests())
    after = elsewhere.take_code(tree, "kept").stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_many_may_take_the_same_code_at_once(depot, tmp_path):
    """As many workers of one machine do that begin together."""
    write_tree(depot.code / "kept", {str(number): (bytes([number]) * 1000, False) for number in range(20)})
    tree = depot.share_code(depot.code / "kept")
    workers = [open_depot(tmp_path, "elsewhere") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        taken = set(pool.map(lambda worker: worker.take_code(tree, "kept"), workers))
    assert taken == {tmp_path / "elsewhere/code/kept"}
    assert read_tree(tmp_path / "elsewhere/code/kept") == read_tree(depot.code / "kept")
    assert [path.name for path in (tmp_path / "elsewhere/code").iterdir()] == ["kept"]


@pytest.mark.parametrize("left", [None, b"evil"], ids=["missing", "damaged"])
def test_code_of_which_a_part_is_lost_is_not_taken(depot, elsewhere, tmp_path, left):
    write_tree(depot.code / "kept", {"a": (b"one", True), "b": (b"two", False)})
    tree, lost = depot.share_code(depot.code / "kept"), digest_bytes(b"two")
    path = tmp_path / "shared" / lost[:2] / lost[2:]
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    with pytest.raises(StoreDamagedError, match=f"object {lost} is {'damaged' if left else 'missing'}"):
        elsewhere.take_code(tree, "kept")
    assert list(elsewhere.code.iterdir()) == []
    assert depot.share_code(depot.code / "kept") == tree
    assert (elsewhere.take_code(tree, "kept") / "b").read_bytes() == b"two"


class Waiting(FolderObjects):
    """Nothing is added before so many are on their way."""

    def __init__(self, path, together):
        super().__init__(path)
        self._all_there = threading.Barrier(together, timeout=20)

    def add_file(self, path):
        self._all_there.wait()
        return super().add_file(path)


def test_files_are_shared_side_by_side(tmp_path):
    depot = Depot(tmp_path / "here", Waiting(tmp_path / "shared", 8))
    write_tree(depot.code / "kept", {str(number): (bytes([number]), number % 2 == 0) for number in range(8)})
    tree = depot.share_code(depot.code / "kept")
    assert read_tree(open_depot(tmp_path).take_code(tree, "kept")) == read_tree(depot.code / "kept")


def test_a_link_is_not_shared(depot):
    (depot.code / "kept").mkdir()
    (depot.code / "kept" / "link").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match=r"kept/link: is no plain file"):
        depot.share_code(depot.code / "kept")


GOOD = digest_bytes(b"good")
FILE = [GOOD, False]
HOSTILE_FILES = {
    "above": {"../x": FILE},
    "above, later": {"a/../../x": FILE},
    "absolute": {"/tmp/x": FILE},
    "itself": {".": FILE},
    "above itself": {"..": FILE},
    "nothing": {"": FILE},
    "in no plain form": {"a//x": FILE},
    "a point": {"./x": FILE},
    "a slash at the end": {"x/": FILE},
    "a zero": {"x\0": FILE},
    "in a folder that is not listed": {"b/x": FILE},
    "in a file": {"x": FILE, "x/y": FILE},
    "both a file and a folder": {"a": FILE},
    "another file by its digest": {"x": ["../../../../etc/passwd", False]},
    "no digest": {"x": ["", False]},
    "a number": {"x": [1, False]},
    "too short": {"x": [GOOD]},
    "no list": {"x": None},
}
HOSTILE_FOLDERS = {
    "above": ["..", "../x"],
    "absolute": ["/", "/tmp"],
    "no text": [1],
    "no list": None,
    "lists": [["a"]],
}


def hostile_listings():
    for name, files in HOSTILE_FILES.items():
        yield pytest.param({"kind": "tree", "folders": ["a"], "files": files}, id=name)
    for name, folders in HOSTILE_FOLDERS.items():
        yield pytest.param({"kind": "tree", "folders": folders, "files": {}}, id=f"folders: {name}")
    for value in (None, [], 1, "tree", {}, {"kind": "other", "folders": [], "files": {}}):
        yield pytest.param(value, id=json.dumps(value))


@pytest.mark.parametrize("listing", list(hostile_listings()))
def test_a_list_that_would_write_elsewhere_is_refused(depot, listing):
    depot.objects.add(b"good")
    tree = depot.objects.add(json.dumps(listing).encode())
    with pytest.raises(StoreDamagedError, match=f"object {tree} is no list of a submission's files"):
        depot.take_code(tree, "kept")
    assert list(depot.code.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000], ids=["empty", "no text", "deep"])
def test_what_is_no_list_at_all_is_refused(depot, data):
    tree = depot.objects.add(data)
    with pytest.raises(StoreDamagedError, match="is no list of a submission's files"):
        depot.take_code(tree, "kept")
