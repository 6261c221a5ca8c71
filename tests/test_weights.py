"""What is played are the weights that were hashed, wherever they lie, and nobody who plays can change them for others.

Who has none is not played, never left out in silence, and never the end of a run.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from builders import play_file, read_board, read_index, write_submission, write_tournament
from helpers import ANSWER, COPY, ROOT, write_dataset

from harness.atomic import write_atomic
from harness.errors import UserError
from harness.submission import UnavailableError, load_submission
from harness.trees import share_file
from harness.weights import DEFAULT_FOLDER, find_weights, rewritten, weights_folder

READER = """\
#!/usr/bin/env python3
import sys
from pathlib import Path

label = (Path(sys.argv[0]).resolve().parent / "weights/tiny.safetensors").read_text()
names = sorted(path.name for path in Path(sys.argv[1]).glob("*.png"))
Path(sys.argv[2]).write_text("".join(f"{name},{label}\\n" for name in names))
"""
"""A defense of the standard library alone: its weights are the label that it always gives."""

LACKING = "its weights tiny are neither in its own folder nor in the weights folder"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("HARNESS_WEIGHTS", str(folder))
    return folder


def fetch(folder, data="7", name="tiny"):
    """As `harness weights` does: whole, or not at all."""
    path = folder / f"{name}.safetensors"
    write_atomic(path, data)
    path.chmod(0o644)
    return path


def write_reader(folder, program=READER, role="defense", **more):
    return write_submission(folder, program, role, weights=["tiny"], **more)


# --- where they are


def test_the_folder_is_the_users_or_where_the_environment_says(monkeypatch, cache):
    assert weights_folder() == cache
    for value in (None, ""):
        monkeypatch.delenv("HARNESS_WEIGHTS") if value is None else monkeypatch.setenv("HARNESS_WEIGHTS", value)
        monkeypatch.setenv("HOME", "/home/somebody")
        assert weights_folder() == Path(DEFAULT_FOLDER.replace("~", "/home/somebody"))
    monkeypatch.setenv("HARNESS_WEIGHTS", "~/elsewhere")
    assert weights_folder() == Path("/home/somebody/elsewhere")


def test_a_submissions_own_file_comes_first(tmp_path, cache):
    folder = write_reader(tmp_path / "reader")
    fetch(cache, "1")
    assert find_weights(folder, ["tiny"])[0][0].path == cache / "tiny.safetensors"
    own = fetch(folder / "weights", "2")
    ((found,), missing) = find_weights(folder, ["tiny"])
    assert (found.path, found.digest, missing) == (own, hashlib.sha256(b"2").hexdigest(), [])


def test_what_is_nowhere_is_named_with_the_command_that_gets_it(tmp_path, cache):
    folder = write_submission(tmp_path / "one", READER, "defense", weights=["b_2", "tiny", "a_1"])
    fetch(cache)
    with pytest.raises(UnavailableError) as caught:
        load_submission(folder)
    assert caught.value.faults == [
        "one: its weights b_2, a_1 are neither in its own folder nor in the weights folder; "
        "remedy: harness weights fetch b_2 a_1"
    ]
    shutil.rmtree(cache)
    with pytest.raises(UnavailableError, match="weights fetch b_2 tiny a_1"):
        load_submission(folder)


def test_the_users_own_folder_may_hold_links(tiny, cache):
    """As one has them who keeps large files on another disk; the kit takes them, too."""
    elsewhere = tiny.parent / "elsewhere"
    elsewhere.mkdir()
    real = fetch(elsewhere)
    (cache / "tiny.safetensors").symlink_to(real)
    ((found,), missing) = find_weights(tiny.parent / "submissions/reader", ["tiny"])
    assert (found.path, missing) == (real, [])
    assert play_file(tiny).board["unavailable"] == []
    assert labels(tiny) == {3, 7}
    (kept,) = tiny.parent.glob("out/store/code/*/weights/tiny.safetensors")
    assert not kept.is_symlink()
    real.unlink()
    with pytest.raises(UnavailableError, match="weights fetch tiny"):
        load_submission(tiny.parent / "submissions/reader")


def test_a_link_of_a_submission_is_refused(tmp_path, cache):
    folder = write_reader(tmp_path / "reader")
    (folder / "weights").mkdir()
    (folder / "weights/tiny.safetensors").symlink_to(fetch(cache))
    with pytest.raises(UserError, match=r"tiny\.safetensors: is a link or no regular file; replace it by the file"):
        find_weights(folder, ["tiny"])
    with pytest.raises(UserError, match=r"tiny\.safetensors is a link"):
        load_submission(folder)


def loop(path):
    path.symlink_to(path)


def test_a_link_to_itself_is_one_line(tmp_path, cache):
    loop(cache / "tiny.safetensors")
    with pytest.raises(UserError, match=r"the weights cannot be read \(Too many levels of symbolic links\); mend"):
        load_submission(write_reader(tmp_path / "reader"))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_one_line(tmp_path, cache, make):
    folder = write_submission(tmp_path / "one", READER, "defense", weights=["tiny", "other"])
    make(cache / "tiny.safetensors")
    with pytest.raises(UserError) as caught:
        load_submission(folder)
    assert caught.value.faults == [
        f"{cache}/tiny.safetensors: is a link or no regular file; replace it by the file itself"
    ]


def test_a_file_where_the_folder_should_be_is_one_line(tmp_path, cache):
    folder = write_reader(tmp_path / "reader")
    fetch(cache)
    (folder / "weights").touch()
    with pytest.raises(UserError, match=r"tiny\.safetensors: the weights cannot be read \(Not a directory\); mend"):
        load_submission(folder)


@contextlib.contextmanager
def as_nobody():
    """As somebody who owns nothing; who is not root is that already where a file has no rights at all."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_weights_that_may_not_be_read_are_one_line(monkeypatch):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        submission, path = write_reader(folder / "reader"), fetch(folder / "cache")
        path.chmod(0o000)
        monkeypatch.setenv("HARNESS_WEIGHTS", str(path.parent))
        with as_nobody(), pytest.raises(UserError) as caught:
            load_submission(submission)
    assert not isinstance(caught.value, UnavailableError)
    assert caught.value.faults == [f"{path}: the weights cannot be read (Permission denied); mend that"]


def test_weights_that_are_gone_or_a_link_are_not_what_they_were(tmp_path, cache):
    path = fetch(cache)
    weights, _ = find_weights(tmp_path, ["tiny"])
    assert rewritten(weights) == []
    path.rename(cache / "aside")
    assert rewritten(weights) == ["tiny"]
    path.symlink_to("aside")
    assert rewritten(weights) == ["tiny"]


def make_unreadable(path):
    path.chmod(0o000)


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_folder_by_file(path):
    shutil.rmtree(path.parent)
    path.parent.touch()


@pytest.mark.parametrize("spoil", [make_unreadable, replace_by_folder, replace_folder_by_file])
def test_weights_that_can_no_longer_be_read_are_not_what_they_were(monkeypatch, spoil):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        Path(name).chmod(0o755)
        path = fetch(Path(name) / "cache")
        monkeypatch.setenv("HARNESS_WEIGHTS", str(path.parent))
        weights, _ = find_weights(Path(name), ["tiny"])
        spoil(path)
        with as_nobody():
            assert rewritten(weights) == ["tiny"]


# --- shared without a copy


@pytest.mark.parametrize(
    ("mode", "linked"), [(0o644, True), (0o444, True), (0o755, True), (0o664, False), (0o646, False), (0o600, False)]
)
def test_a_file_is_linked_only_where_others_may_read_and_not_write_it(tmp_path, mode, linked):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("1")
    source.chmod(mode)
    share_file(source, target)
    assert target.samefile(source) is linked
    assert target.read_text() == "1"
    assert stat.S_IMODE(source.stat().st_mode) == mode
    assert stat.S_IMODE(target.stat().st_mode) == (mode if linked else 0o444)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_copied(tmp_path):
    """As on a share that hands everything of root's to nobody: containers run as nobody, too."""
    source = fetch(tmp_path)
    os.chown(source, 65534, 65534)
    share_file(source, tmp_path / "target")
    assert not (tmp_path / "target").samefile(source)
    assert (tmp_path / "target").stat().st_uid == 0


def test_a_file_of_another_file_system_is_copied(tmp_path):
    if os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system here")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        share_file(fetch(Path(other)), tmp_path / "target")
    assert (tmp_path / "target").read_text() == "7"


# --- a round without them, and then with them


@pytest.fixture
def tiny(tmp_path):
    """An attack that changes nothing, a defense that always says 3, and the reader."""
    write_dataset(tmp_path / "dataset")
    write_submission(tmp_path / "submissions/noop", COPY)
    write_submission(tmp_path / "submissions/three", ANSWER % 3, "defense")
    write_reader(tmp_path / "submissions/reader")
    return write_tournament(tmp_path / "tiny.yaml")


def board_bytes(path, output="out"):
    return (path.parent / output / "leaderboard.json").read_bytes()


def labels(path, output="out"):
    return {label for (label,) in read_index(path.parent / output / "store", "SELECT label FROM predictions")}


UNAVAILABLE = {"name": "reader", "type": "defense", "reason": LACKING, "remedy": "harness weights fetch tiny"}


def test_a_round_goes_on_without_whom_it_lacks_and_is_completed_later(tiny, cache):
    first = play_file(tiny)
    assert first.calls == {"noop": 1, "three": 1}
    assert first.board["complete"]
    assert first.board["unavailable"] == [UNAVAILABLE] == read_board(tiny.parent / "out")["unavailable"]
    assert first.board["matrices"]["defenses"] == ["three"]
    fetch(cache, "7")
    second = play_file(tiny)
    assert second.calls == {"reader": 1}
    assert second.board["unavailable"] == []
    assert labels(tiny) == {3, 7}
    before = board_bytes(tiny)
    assert play_file(tiny).calls == {}
    assert board_bytes(tiny) == before


def test_the_board_is_the_same_wherever_the_weights_lie(tiny, cache):
    fetch(cache)
    play_file(tiny)
    (cache / "tiny.safetensors").unlink()
    own = fetch(tiny.parent / "submissions/reader/weights")
    own.chmod(0o755)
    play_file(tiny, output=tiny.parent / "own")
    assert play_file(tiny).calls == {}
    assert board_bytes(tiny) == board_bytes(tiny, "own")


def test_provenance_names_the_digest_of_every_weights_file(tiny, cache):
    fetch(cache)
    play_file(tiny)
    provenance = json.loads((tiny.parent / "out/provenance.json").read_text())
    found = {one["name"]: one["weights"] for one in provenance["submissions"]}
    assert found == {"noop": {}, "three": {}, "reader": {"tiny": hashlib.sha256(b"7").hexdigest()}}


def test_other_weights_are_another_player(tiny, cache):
    fetch(cache, "7")
    play_file(tiny)
    fetch(cache, "8")
    assert play_file(tiny).calls == {"reader": 1}
    assert labels(tiny) == {3, 7, 8}


def test_the_commands_say_who_is_unavailable_and_what_would_help(tiny, run_main, capsys):
    line = f"reader (defense) is unavailable: {LACKING}; remedy: harness weights fetch tiny"
    said = {}
    for command in ("plan", "run", "status", "score"):
        assert run_main(command, tiny) == 0
        said[command] = capsys.readouterr().out.splitlines()
    assert {command: lines.count(line) for command, lines in said.items()} == {
        "plan": 1, "run": 2, "status": 1, "score": 1,
    }  # fmt: skip
    assert said["run"][0] == line, "before anything is called"
    assert any(row.split() == ["defense", "reader", "-", "-", "unavailable"] for row in said["plan"])
    page = (tiny.parent / "out/leaderboard.md").read_text()
    assert f"| defense | reader | {LACKING} | `harness weights fetch tiny` |" in page


def test_a_round_of_nobody_names_them_and_one_command(tiny, cache, run_main, capsys):
    write_submission(tiny.parent / "submissions/second", READER, "defense", weights=["tiny", "big"])
    shutil.rmtree(tiny.parent / "submissions/three")
    assert run_main("run", tiny) == 1
    assert capsys.readouterr().err == (
        "harness: tiny: every defense is unavailable (reader, second); use harness weights fetch big tiny\n"
    )
    assert not (tiny.parent / "out/leaderboard.json").exists()
    fetch(cache)
    assert run_main("run", tiny) == 0
    assert read_board(tiny.parent / "out")["matrices"]["defenses"] == ["reader"]


# --- written over in place


def test_weights_that_are_rewritten_during_a_run_stop_it_and_the_next_plays_the_new_ones(tiny, cache, run_main, capsys):
    """A link of the store shows what is written into the file that it was made of."""
    path = fetch(cache, "7")
    write_submission(tiny.parent / "submissions/vandal", f"#!/bin/sh\nprintf 8 >{path}\n")
    begun = write_witness(tiny)
    assert run_main("run", tiny, "--slots", 1) == 1
    assert capsys.readouterr().err == REWRITTEN
    assert not begun.exists()
    assert run_main("run", tiny) == 0
    assert labels(tiny) == {3, 8}


def write_witness(tiny, more=""):
    """A reader that leaves a file, which is returned, when it is called."""
    begun = tiny.parent / "begun"
    shutil.rmtree(tiny.parent / "submissions/reader")
    write_reader(tiny.parent / "submissions/witness", f"{READER}\nPath({str(begun)!r}).touch()\n{more}\n")
    return begun


REWRITTEN = "harness: the weights tiny were rewritten during the run; run again, and it plays the new ones\n"


def test_a_call_whose_weights_are_rewritten_meanwhile_does_not_count(tiny, cache, run_main, capsys):
    """In a container they are a link: nobody knows which bytes it read."""
    path = fetch(cache, "7")
    begun = write_witness(tiny, f"Path({str(path)!r}).write_text('8')")
    assert run_main("run", tiny) == 1
    assert capsys.readouterr().err == REWRITTEN
    assert begun.exists()
    assert labels(tiny) <= {3}


def test_a_copy_that_was_spoilt_between_runs_is_made_anew(tiny, cache):
    path = fetch(cache, "7")
    play_file(tiny)
    path.write_text("8")
    play_file(tiny)
    fetch(cache, "7")
    write_submission(tiny.parent / "submissions/black", BLACK)
    assert set(play_file(tiny).calls) == {"black", "three", "reader"}
    each = "SELECT COUNT(DISTINCT label) FROM predictions GROUP BY player"
    assert read_index(tiny.parent / "out/store", each) == [(1,), (1,), (1,)]


BLACK = """\
#!/usr/bin/env python3
import sys
from pathlib import Path

import numpy as np
from PIL import Image

for path in Path(sys.argv[1]).glob("*.png"):
    with Image.open(path) as image:
        Image.fromarray(np.zeros_like(np.asarray(image))).save(Path(sys.argv[2]) / path.name)
"""


# --- nobody changes them for others

WRITER = """\
#!/usr/bin/env python3
import os, sys
from pathlib import Path

path = Path("weights/tiny.safetensors")
label = path.read_text()
for spoil in (
    lambda: path.write_text("9"), lambda: path.chmod(0o666), lambda: path.write_text("9"),
    lambda: os.utime(path, (0, 0)), lambda: os.truncate(path, 0), path.unlink,
):
    try:
        spoil()
    except OSError as error:
        print(error)
names = sorted(path.name for path in Path(sys.argv[1]).glob("*.png"))
Path(sys.argv[2]).write_text("".join(f"{name},{label}\\n" for name in names))
"""


@pytest.mark.parametrize("sandbox", ["process", pytest.param("docker", marks=pytest.mark.docker)])
def test_a_submission_cannot_change_the_users_weights_nor_the_stores(tiny, cache, sandbox):
    path = fetch(cache)
    before = path.stat()
    shutil.rmtree(tiny.parent / "submissions/reader")
    write_reader(tiny.parent / "submissions/writer", WRITER)
    write_submission(tiny.parent / "submissions/black", BLACK)
    result = play_file(tiny, sandbox=sandbox, slots=1)
    assert result.failed == ()
    assert result.calls["writer"] >= 1
    (kept,) = tiny.parent.glob("out/store/code/*/weights/tiny.safetensors")
    assert kept.samefile(path)
    after = path.stat()
    assert (path.read_text(), after.st_mode, after.st_mtime_ns) == ("7", before.st_mode, before.st_mtime_ns)
    assert labels(tiny) == {3, 7}


@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root gives containers copies")
def test_a_container_reads_the_users_own_file(tiny, cache):
    """Large weights are not copied for each call."""
    path = fetch(cache)
    program = READER + 'print("inode", (Path(sys.argv[0]).parent / "weights/tiny.safetensors").stat().st_ino)\n'
    write_reader(tiny.parent / "submissions/teller", program)
    play_file(tiny, sandbox="docker")
    logs = read_index(tiny.parent / "out/store", "SELECT log FROM calls WHERE label LIKE 'teller%'")
    assert {log for (log,) in logs} == {f"inode {path.stat().st_ino}\n"}


def test_a_careful_umask_keeps_nobody_from_reading(tiny, cache):
    path = fetch(cache)
    path.chmod(0o600)
    before = os.umask(0o077)
    try:
        play_file(tiny)
    finally:
        os.umask(before)
    (kept,) = tiny.parent.glob("out/store/code/*/weights/tiny.safetensors")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o444
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("given", [None, "/somewhere/else"])
def test_the_container_of_the_harness_gets_the_folder_that_is_named(given, monkeypatch):
    """The form that would make a missing folder, as root's, is not used: by default, one that is there is mounted."""
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "HARNESS_WEIGHTS"}
    environment |= {"PWD": str(ROOT)} | ({"HARNESS_WEIGHTS": given} if given else {})
    ended = subprocess.run(
        ["docker-compose", "config"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    service = yaml.safe_load(ended.stdout)["services"]["harness"]
    (mount,) = (volume for volume in service["volumes"] if "/weights" in str(volume))
    source = given or str(ROOT / "harness")
    assert mount == {"type": "bind", "source": source, "target": "/weights", "read_only": True}
    assert service["environment"]["HARNESS_WEIGHTS"] == "/weights"
    assert given or not list(Path(source).glob("*.safetensors"))


def test_doctor_names_the_folder_and_counts_what_is_there(cache, run_main, capsys, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    fetch(cache, name="a")
    fetch(cache, name="b")
    (cache / "b.safetensors.part").touch()
    run_main("doctor")
    assert f" weights  2 files in {cache}\n" in capsys.readouterr().out
