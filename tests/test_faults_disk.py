"""What a disk can do to a run: be full, be read-only, lose files, give back others. The run ends with one line that
says what to do, or goes on; the same command then ends with the same leaderboard, and nobody is blamed for it."""

import contextlib
import hashlib
import random
import shutil
import subprocess
import time
from datetime import datetime, timedelta

import pytest
from builders import harness_process, living, play_file, read_board, read_index, read_ledger, store_identity
from engine import wait_until
from faulty import write_defense, write_small


@pytest.fixture
def mount(tmp_path):
    """`mount(SIZE)` is a folder that is a small file system of its own; skips where that cannot be made."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def make(size):
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "harness-test", folder], capture_output=True, text=True
        )
        if made.returncode:
            pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The leaderboard of a run that nothing happened to."""
    path = write_small(tmp_path_factory.mktemp("reference"), **LARGE)
    play_file(path)
    return (path.parent / "out/leaderboard.json").read_bytes()


@pytest.fixture(scope="module")
def reference_of_small(tmp_path_factory):
    path = write_small(tmp_path_factory.mktemp("small"))
    play_file(path)
    return (path.parent / "out/leaderboard.json").read_bytes()


LARGE = {"images": 6, "size": (128, 128)}
"""49 kB for each of 24 images."""


@pytest.mark.parametrize("size", ["100k", "700k", "1300k", "2100k", "2900k"])
def test_a_full_disk(tmp_path, mount, run_main, capsys, reference, size):
    """It is full when the store is made, when images are taken in, when code is copied, and in the calls."""
    disk = mount(size)
    path = write_small(tmp_path, **LARGE, output=str(disk / "out"))
    assert run_main("run", path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"harness: {disk}/out/store")
    assert "; make room" in line
    remount(disk, "size=64m")
    assert run_main("run", path) == 0
    assert (disk / "out/leaderboard.json").read_bytes() == reference
    assert {verdict for (verdict,) in read_index(disk / "out/store", "SELECT verdict FROM calls")} == {"ok"}


def test_a_submission_is_not_blamed_for_a_full_disk(tmp_path, mount, run_main, capsys):
    """It needs some room for itself, has less than it was promised, and says so by its exit code."""
    disk = mount("4m")
    path = write_small(tmp_path, output=str(disk / "out"))
    attack = tmp_path / "submissions/plus3/run"
    attack.write_text(attack.read_text() + 'head -c 5000000 /dev/zero >"$2/scratch" || exit 1\nrm "$2/scratch"\n')
    assert run_main("run", path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"harness: {disk}/out/store")  # or its index, whichever wants room first
    assert "cannot be written" in line
    assert "; make room" in line
    verdicts = "SELECT DISTINCT verdict FROM calls"
    assert set(read_index(disk / "out/store", verdicts)) <= {("ok",)}
    remount(disk, "size=64m")
    assert run_main("run", path) == 0
    assert read_index(disk / "out/store", verdicts) == [("ok",)]


def test_a_read_only_disk(tmp_path, mount, run_main, capsys):
    """Everything that writes says so in one line, also for root; what only reads works."""
    disk = mount("64m")
    path = write_small(tmp_path, output=str(disk / "out"))
    assert run_main("run", path) == 0
    remount(disk, "ro")
    capsys.readouterr()
    said = {}
    for name, arguments in {
        "again": ["run", path],
        "another output": ["run", path, "--output-dir", disk / "another"],
        "another store": ["run", path, "--store", tmp_path / "store"],
        "that store": ["run", path, "--output-dir", tmp_path / "out", "--store", disk / "out/store"],
        "score": ["score", disk / "out"],
        "gc": ["gc", disk / "out"],
    }.items():
        assert run_main(*arguments) == 1
        (said[name],) = capsys.readouterr().err.splitlines()
    assert {name for name, line in said.items() if "(Read-only file system)" not in line} == set()
    assert run_main("status", disk / "out") == 0
    assert "32 of 32 answers, complete" in capsys.readouterr().out


# --- what lies on it


@pytest.fixture
def played(tmp_path):
    """(tournament file, output) of a run that is over."""
    path = write_small(tmp_path)
    play_file(path)
    return path, path.parent / "out"


def test_harnesses_that_begin_at_once_share_a_store_one_by_one(tmp_path):
    """One plays; the others say why they do not, or find that all is done."""
    path = write_small(tmp_path)
    with contextlib.ExitStack() as stack:
        begun = [stack.enter_context(harness_process("run", path)) for _ in range(3)]
        ended = [(*harness.communicate(timeout=120), harness.returncode) for harness in begun]
    assert 0 in [code for _, _, code in ended]
    for _, errors, code in ended:
        assert (code, errors) == (0, "") or (code, errors.count("\n")) == (1, 1)
        assert code == 0 or "another harness is at work on this store" in errors
    assert len(read_ledger(tmp_path / "out/store")) == len(set(read_ledger(tmp_path / "out/store")))
    assert read_board(tmp_path / "out")["complete"]


def test_what_is_scored_while_a_run_is_going_on_is_incomplete_and_disturbs_nobody(tmp_path, run_main):
    path = write_small(tmp_path)
    attack = tmp_path / "submissions/plus3/run"
    attack.write_text(attack.read_text() + f"while [ ! -e {tmp_path}/enough ]; do sleep 0.1; done\n")
    with harness_process("run", path) as harness:
        wait_until(lambda: (tmp_path / "out/round.json").exists() and living(store_identity(tmp_path / "out")))
        assert run_main("score", tmp_path / "out") == 1
        assert run_main("status", tmp_path / "out") == 0
        board = read_board(tmp_path / "out")
        assert not board["complete"]
        assert {hole["attack"] for hole in board["holes"]} > {"plus3"}
        (tmp_path / "enough").touch()
        _, errors = harness.communicate(timeout=60)
    assert (harness.returncode, errors) == (0, "")
    assert read_board(tmp_path / "out")["complete"]


@pytest.mark.parametrize("kept", [0, 1, 100, 5000, -4096])
def test_an_index_that_was_cut_off_is_one_line_and_nothing_is_lost_but_time(played, run_main, capsys, kept):
    path, output = played
    board = (output / "leaderboard.json").read_bytes()
    index = output / "store/index.sqlite"
    index.write_bytes(index.read_bytes()[:kept])
    for arguments in (["run", path], ["status", output], ["score", output], ["gc", output]):
        assert run_main(*arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"harness: {index}: the index cannot be read (")
        assert line.endswith("); move the store away and run again")
    assert (output / "leaderboard.json").read_bytes() == board
    (output / "store").rename(output / "away")
    assert run_main("run", path) == 0
    assert (output / "leaderboard.json").read_bytes() == board


def half(path):
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "damage",
    [
        lambda output: (output / "round.json").unlink(),
        lambda output: half(output / "round.json"),
        lambda output: (output / "leaderboard.json").unlink(),
        lambda output: half(output / "leaderboard.json"),
        lambda output: [half(path) for path in sorted(output.glob("store/objects/*/*"))[::2]],
        lambda output: [path.unlink() for path in sorted(output.glob("store/objects/*/*"))[::2]],
        lambda output: [path.write_bytes(b"") for path in (output / "store" / "work").iterdir()],
        lambda output: shutil.rmtree(output / "store/code"),
        lambda output: [path.unlink() for path in output.glob("*.*")],
    ],
    ids=[
        "no round", "half a round", "no board", "half a board", "half of the objects cut", "half of the objects gone",
        "no work", "no code", "no results",
    ],
)  # fmt: skip
def test_the_same_command_mends_what_was_lost(played, run_main, damage):
    """With a defense more, so that every object is wanted again."""
    path, output = played
    board = read_board(output)
    damage(output)
    assert run_main("run", path) == 0
    assert read_board(output) == board
    write_defense(path.parent, "three")
    assert run_main("run", path) == 0
    assert read_board(output)["complete"]
    assert {row["name"] for row in read_board(output)["defenses"]} == {"one", "two", "three"}
    for path in output.glob("store/objects/*/*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name + path.name


def test_gc_removes_results_that_were_being_written_at_a_kill(played, run_main):
    _, output = played
    before = sorted(path.name for path in output.iterdir())
    for name in (".leaderboard.json.0123456789ab", ".round.json.0123456789ab"):
        (output / name).write_text("{")
    assert run_main("gc", output, "--dry-run") == 0
    assert len(list(output.glob(".*"))) == 2
    assert run_main("gc", output) == 0
    assert sorted(path.name for path in output.iterdir()) == before


@pytest.mark.parametrize("command", ["status", "score", "gc"])
def test_without_a_round_there_is_nothing_to_tell(played, run_main, capsys, command):
    _, output = played
    (output / "round.json").unlink()
    assert run_main(command, output) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no run was begun there (round.json is missing); harness run makes it" in line


# --- clocks


class Jumping(datetime):
    """A wall clock that goes forward and back by days."""

    draw = random.Random(1)

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(days=cls.draw.uniform(-1000, 1000))


def test_jumps_of_the_wall_clock_do_not_matter(tmp_path, run_main, monkeypatch, capsys, reference_of_small):
    """Limits, back-off and progress go by another clock; what is written down is for people."""
    real, draw = time.time, random.Random(2)
    monkeypatch.setattr(time, "time", lambda: real() + draw.uniform(-1e8, 1e8))
    monkeypatch.setattr("harness.runner.datetime", Jumping)
    path = write_small(tmp_path)
    assert run_main("run", path) == 0
    assert (tmp_path / "out/leaderboard.json").read_bytes() == reference_of_small
    ledger = read_index(tmp_path / "out/store", "SELECT finished FROM calls ORDER BY number")
    assert ledger != sorted(ledger), "the clock went back during the run"
    capsys.readouterr()
    assert run_main("run", path) == run_main("status", tmp_path / "out") == run_main("gc", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "nothing was left to call" in said
    assert "32 of 32 answers, complete" in said
    assert "0 other objects and 0 copies of code are unused" in said
