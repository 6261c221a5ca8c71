"""Whatever is typed, and whatever is wrong with the machine, ends in one clear line and a fixed exit code: scripts go
by the code, people by the line, and a traceback is for neither."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
from helpers import ANSWER, ROOT, random_pixels, write_dataset, write_submission
from PIL import Image

from harness import __version__
from harness.cli import build_parser
from harness.commands import doctor, status
from harness.errors import EngineUnavailableError
from harness.store import Store

COMMANDS = ("run", "plan", "status", "score", "dataset", "doctor", "gc")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A work place with a tournament that was played, and everything that can be wrong beside it."""
    folder = tmp_path_factory.mktemp("place")
    write_dataset(folder / "data", 2)
    write_submission(folder / "good" / "noop")
    write_submission(folder / "good" / "one", "defense", ANSWER % 1)
    write_submission(folder / "bad" / "closed", executable=False)
    write_submission(folder / "bad" / "typo", type="atack", entrypoint="run.sh")
    write_submission(folder / "twins" / "noop", name="noop")
    write_submission(folder / "twins" / "other", name="noop")
    grey = write_dataset(folder / "grey", 2) / "images" / "img1.png"
    Image.fromarray(random_pixels(0)[:, :, 0].copy()).save(grey)
    (write_dataset(folder / "labels", 2) / "dataset.csv").write_text(
        "ImageId,TrueLabel,TargetClass\nimg0,0,1\nimg1,1,2000\n"
    )
    (folder / "file").touch()
    (folder / "bad.yaml").write_text("epsilons: 4\nsandbox: dcker\noutput: out\n")
    (folder / "broken.yaml").write_text("a: [")
    for name, keys in {
        "t": {"output": "out"},
        "trust": {"trust_submissions": False},
        "closed": {"submissions": ["bad/*"]},
        "twins": {"submissions": ["twins/*"]},
        "grey": {"dataset": "grey"},
        "labels": {"dataset": "labels"},
        "nothing": {"dataset": "absent"},
        "nobody": {"submissions": ["absent/*"]},
        "docker": {"sandbox": "docker"},
        "nowhere": {"output": "file/out"},
        "gpu": {"gpu": True},
    }.items():
        defaults = {"dataset": "data", "submissions": ["good/*"], "sandbox": "process", "trust_submissions": True}
        (folder / f"{name}.yaml").write_text(json.dumps(defaults | {"output": f"out-{name}"} | keys))
    run(folder, "run", "t.yaml")
    return folder


def run(folder, *arguments):
    ended = subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


TABLE = {
    "nothing": ([], 2, "the following arguments are required: COMMAND"),
    "unknown-command": (["play"], 2, "invalid choice: 'play'"),
    "unknown-option": (["run", "--fast"], 2, "unrecognized arguments: --fast"),
    "no-number": (["run", "t.yaml", "--slots", "two"], 2, "argument --slots: invalid int value: 'two'"),
    "no-such-rules": (["score", "out", "--rules", "fairer"], 2, "argument --rules: invalid choice: 'fairer'"),
    "no-run-named": (["status"], 2, "the following arguments are required: RUN"),
    "version": (["--version"], 0, None),
    "help": (["--help"], 0, None),
    "no-tournament": (["run"], 1, r"harness: no tournament: give a tournament file, or the 2017 flags \(.* missing\)"),
    "tournament-absent": (["run", "absent.yaml"], 1, r"harness: absent\.yaml: no such tournament file; check the path"),
    "tournament-broken": (["run", "broken.yaml"], 1, r"harness: broken\.yaml: tournament file is not valid YAML: "),
    "all-faults": (
        ["run", "bad.yaml"],
        1,
        r"(?s)(?=.*epsilons: unknown key; did you mean epsilon\?)(?=.*did you mean docker\?)(?=.*dataset: required)",
    ),
    "override-wrong": (["run", "t.yaml", "--epsilon", "300"], 1, r"t\.yaml: epsilon: is rotate, an integer in 0\.\."),
    "dataset-absent": (["run", "nothing.yaml"], 1, "absent: no such dataset folder; check the path"),
    "dataset-labels": (["run", "labels.yaml"], 1, r"(?s)csv:2: TrueLabel 0 .*csv:3: TargetClass 2000 is outside"),
    "dataset-grey": (["run", "grey.yaml"], 1, r"img1\.png: is 8-bit grey, not 8-bit RGB; .* so convert it"),
    "submissions-absent": (["plan", "nobody.yaml"], 1, r"absent/\*: no submission is there; check the path"),
    "submissions-bad": (
        ["run", "closed.yaml"],
        1,
        r"(?s)entry point run\.sh is not executable; run: chmod \+x.*typo/metadata\.json: type: .*did you mean attack",
    ),
    "submissions-twins": (["run", "twins.yaml"], 1, "noop: two submissions of type attack have this name"),
    "no-trust": (["run", "trust.yaml"], 1, "noop: the process sandbox does not isolate.*--trust-submissions"),
    "no-engine": (["run", "docker.yaml"], 1, "docker: no engine answers at unix:///nowhere.*--sandbox process"),
    "no-gpu": (["run", "gpu.yaml"], 1, "gpu: true, but nvidia-smi lists no GPU on this machine; set gpu: auto"),
    "no-output": (["run", "nowhere.yaml"], 1, r"file/out"),
    "status-absent": (["status", "absent"], 1, r"absent: no run was begun there \(round\.json is missing\)"),
    "score-absent": (["score", "trust.yaml"], 1, r"out-trust: no run was begun there"),
    "gc-absent": (["gc", "absent"], 1, r"absent: no run was begun there"),
    "check-grey": (["dataset", "check", "grey"], 1, r"img1\.png: is 8-bit grey"),
    "build-none": (["dataset", "build", "data"], 1, r"data: dataset\.yaml names no build script; see its README"),
    "check": (["dataset", "check", "data"], 0, None),
    "run": (["run", "t.yaml"], 0, None),
    "plan": (["plan", "t.yaml"], 0, None),
    "status": (["status", "out"], 0, None),
    "status-by-file": (["status", "t.yaml"], 0, None),
    "score": (["score", "out", "--rules", "nips17-final"], 0, None),
    "gc": (["gc", "out", "--dry-run"], 0, None),
    "doctor": (["doctor"], 0, None),
}  # fmt: skip


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(doctor, "ENOUGH_DISK", 0)
    monkeypatch.setattr("harness.machine.gpus", list)
    return place


def exit_code(run_main, *arguments):
    try:
        return run_main(*arguments)
    except SystemExit as end:  # of the parser
        return end.code


@pytest.mark.parametrize(("arguments", "code", "pattern"), TABLE.values(), ids=TABLE.keys())
def test_each_command_line_has_its_code_and_its_line(here, run_main, capfd, arguments, code, pattern):
    assert exit_code(run_main, *arguments) == code
    said = capfd.readouterr()
    if pattern is None:
        assert said.err == ""
        assert said.out
    else:
        assert re.search(pattern, said.err)
        assert "Traceback" not in said.err
    if code == 1:
        assert all(line.startswith("harness: ") for line in said.err.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run_main, capsys, command):
    assert exit_code(run_main, command, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: harness {command} ")


def test_the_table_of_commands_is_the_parsers():
    (commands,) = (action.choices for action in build_parser()._actions if action.dest == "command")
    assert tuple(commands) == COMMANDS


def test_the_version_is_that_of_the_package(run_main, capsys):
    exit_code(run_main, "--version")
    assert capsys.readouterr().out == f"harness {__version__}\n"


# --- what the commands say


def test_a_second_run_has_nothing_left_to_call(here, run_main, capfd):
    assert run_main("run", "t.yaml") == 0
    out = capfd.readouterr().out
    assert "nothing was left to call" in out
    assert "does not isolate" in out


def test_plan_status_and_gc_agree_that_all_is_known(here, run_main, capfd):
    run_main("plan", "t.yaml")
    assert "1 attack calls are known, 0 would be made" in capfd.readouterr().out
    run_main("status", "out")
    assert "4 of 4 answers, complete" in capfd.readouterr().out
    run_main("gc", "out", "--dry-run")
    assert "1 runs need 2 images; 0 images and 0 copies of code are unused" in capfd.readouterr().out


def test_the_2017_flags_play_a_tournament(here, run_main, tmp_path):
    flags = ["--attacks_dir=good", "--dataset_dir=data/images", "--dataset_metadata=data/dataset.csv", "--epsilon=8"]
    arguments = [*flags, f"--output_dir={tmp_path}", "--sandbox=process", "--trust-submissions"]
    assert run_main("run", *arguments) == 0
    assert (tmp_path / "accuracy_on_attacks.csv").read_text() == ",one\nnoop,1\n"


def test_scoring_again_writes_the_same_bytes(here, run_main):
    before = (here / "out" / "leaderboard.json").read_bytes()
    run_main("score", "out", "--rules", "nips17-dev")
    assert json.loads((here / "out" / "leaderboard.json").read_bytes())["rules"] == "nips17-dev"
    run_main("score", "out")
    assert (here / "out" / "leaderboard.json").read_bytes() == before


def test_an_incomplete_board_is_an_error_and_says_so(here, run_main, capfd, tmp_path):
    run_main("run", "t.yaml", "--output", tmp_path)
    with closing(Store(tmp_path / "store")) as store:
        store.index.keep_only([], [])
    capfd.readouterr()
    assert run_main("score", tmp_path) == 1
    assert "incomplete: 4 answers are not known yet" in capfd.readouterr().out
    assert run_main("status", tmp_path) == 0
    assert "0 of 4 answers, incomplete" in capfd.readouterr().out
    assert run_main("run", "t.yaml", "--output", tmp_path) == 0


def test_a_store_that_is_gone(here, run_main, capfd, tmp_path):
    (tmp_path / "round.json").write_bytes((here / "out" / "round.json").read_bytes())
    assert run_main("score", tmp_path) == 1
    assert "store: the store of this run is gone; run the tournament again" in capfd.readouterr().err


def test_a_store_that_is_in_use(here, run_main, capfd):
    with closing(Store(here / "out" / "store")) as store, store.writing():
        assert run_main("run", "t.yaml") == 1
    assert "another harness is at work on this store; wait for it to end" in capfd.readouterr().err


def test_a_damaged_index(here, run_main, capfd, tmp_path):
    run_main("run", "t.yaml", "--output", tmp_path)
    (tmp_path / "store" / "index.sqlite").write_bytes(b"rubbish" * 1000)
    assert run_main("status", tmp_path) == 1
    assert "index.sqlite: the index cannot be read" in capfd.readouterr().err


def test_gc_removes_what_no_run_needs_and_keeps_what_one_does(here, run_main, capfd, tmp_path):
    run_main("run", "t.yaml", "--output", tmp_path)
    with closing(Store(tmp_path / "store")) as store:
        extra = store.add_object(b"of no run")
        (store.code / "stranger").mkdir()
    capfd.readouterr()
    assert run_main("gc", tmp_path) == 0
    assert "1 images and 1 copies of code are unused" in capfd.readouterr().out
    with closing(Store(tmp_path / "store")) as store:
        assert extra not in store.object_digests()
        assert not (store.code / "stranger").exists()
    assert run_main("run", "t.yaml", "--output", tmp_path) == 0
    assert "nothing was left to call" in capfd.readouterr().out


def test_doctor_says_what_auto_would_choose(here, run_main, capfd, monkeypatch):
    assert run_main("doctor") == 0
    out = capfd.readouterr().out
    assert "no Docker engine answers; start one or set DOCKER_HOST" in out
    assert "sandbox process" in out
    monkeypatch.setattr(doctor, "ENOUGH_DISK", 1 << 70)
    assert run_main("doctor") == 1
    assert "make room or choose another output folder" in capfd.readouterr().out


def test_the_environment_may_choose_the_sandbox(here, run_main, capfd, monkeypatch):
    monkeypatch.setenv("HARNESS_SANDBOX", "docker")
    assert run_main("run", "t.yaml") == 1
    assert "no engine answers" in capfd.readouterr().err


# --- what nobody expected


@pytest.fixture
def failing(monkeypatch):
    """`harness status` with another end."""

    def failing(end):
        def main(arguments):
            raise end if isinstance(end, BaseException) else end()

        monkeypatch.setattr(status, "main", main)

    return failing


def test_a_bug_leaves_a_log_that_can_be_pasted(failing, run_main, capfd, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(ZeroDivisionError("of all things"))
    assert run_main("status", "out") == 3
    err = capfd.readouterr().err
    (path,) = tmp_path.glob("harness-bug-*.log")
    assert err == (f"harness: this is a bug of the harness (ZeroDivisionError: of all things); please report {path}\n")
    log = path.read_text()
    assert f"harness {__version__}, Python 3." in log
    assert "Traceback (most recent call last)" in log
    assert log.endswith("ZeroDivisionError: of all things\n")


@pytest.mark.parametrize(
    ("end", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "stopped; what is recorded is kept, and the same command goes on from there"),
        (EngineUnavailableError("the engine is gone"), 1, "the engine is gone"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            1,
            "/x/y: cannot be written (No space left on device); make room or mend its rights, and run again",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            1,
            "the output folder: cannot be written (Permission denied); make room or mend its rights, and run again",
        ),
    ],
    ids=["interrupt", "engine", "space", "rights"],
)  # fmt: skip
def test_what_is_no_bug(failing, run_main, capfd, end, code, line):
    failing(end)
    assert run_main("status", "out") == code
    assert capfd.readouterr().err == f"harness: {line}\n"


def test_a_polite_kill_is_an_interrupt(failing, run_main, capfd):
    def wait_for_the_signal():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
        return AssertionError("the signal did not arrive")

    failing(wait_for_the_signal)
    assert run_main("status", "out") == 130
    assert "the same command goes on from there" in capfd.readouterr().err


def test_a_reader_that_goes_away_is_no_error(here):
    """As in `harness dataset check data | head -0`; output that is buffered is written only at the end."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        ended = subprocess.run(
            [sys.executable, "-m", "harness", "dataset", "check", "data"],
            env=environment | {"PYTHONPATH": str(ROOT)}, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
