"""Whatever is typed, and whatever is wrong with the machine, ends in one clear line and a fixed exit code: scripts go
by the code, people by the line, and a traceback is for neither."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
from helpers import ANSWER, COPY, ROOT, random_pixels, write_dataset, write_submission
from PIL import Image

from harness import __version__
from harness.cli import STOPPING, build_parser
from harness.commands import doctor, status
from harness.errors import EngineUnavailableError, UserError
from harness.store import Store

COMMANDS = (
    "run", "plan", "status", "score", "diff", "publish", "verify", "check", "dataset", "weights", "doctor", "gc",
)  # fmt: skip


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
        "cores": {"limits": {"cpus": 100_000}},
        "attacks": {"submissions": ["good/noop"]},
        "defenses": {"submissions": ["good/one"]},
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
    "override-wrong": (["run", "t.yaml", "--epsilon", "300"], 1, r"harness: command line: epsilon: is rotate, "),
    "limit-wrong": (["run", "t.yaml", "--limit", "0"], 1, r"harness: command line: dataset\.limit: should be greater"),
    "override-right-file-wrong": (["run", "bad.yaml", "--epsilon", "8"], 1, r"harness: bad\.yaml: epsilons: unknown"),
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
    "too-many-cores": (["run", "cores.yaml"], 1, r"limits\.cpus: 100000 cores for each call, this machine has \d+"),
    "no-defense": (["run", "attacks.yaml"], 1, "attacks: there is no defense among the submissions; add one"),
    "no-attack": (["plan", "defenses.yaml"], 1, "defenses: there is no attack among the submissions; add one"),
    "no-output": (["run", "nowhere.yaml"], 1, r"file/out"),
    "status-absent": (["status", "absent"], 1, r"absent: no run was begun there \(round\.json is missing\)"),
    "score-absent": (["score", "trust.yaml"], 1, r"out-trust: no run was begun there"),
    "gc-absent": (["gc", "absent"], 1, r"absent: no run was begun there"),
    "check-grey": (["dataset", "check", "grey"], 1, r"img1\.png: is 8-bit grey"),
    "build-none": (["dataset", "build", "data"], 1, r"data: dataset\.yaml names no build script; see its README"),
    "check": (["dataset", "check", "data"], 0, None),
    "run": (["run", "t.yaml"], 0, None),
    "plan": (["plan", "t.yaml"], 0, None),
    "plan-markup": (["plan", "t.yaml", "--name", "[/red] final [b]"], 0, None),
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
    assert "1 runs need 2 images; 0 other objects and 0 copies of code are unused" in capfd.readouterr().out


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
        extra = store.objects.add(b"of no run")
        (store.code / "stranger").mkdir()
    capfd.readouterr()
    assert run_main("gc", tmp_path) == 0
    assert "1 other objects and 1 copies of code are unused" in capfd.readouterr().out
    with closing(Store(tmp_path / "store")) as store:
        assert extra not in set(store.objects.digests())
        assert not (store.code / "stranger").exists()
    assert run_main("run", "t.yaml", "--output", tmp_path) == 0
    assert "nothing was left to call" in capfd.readouterr().out


@pytest.fixture
def shared(here, run_main, tmp_path):
    """Two runs, `a` and `b`, into one store."""
    for name, epsilon in (("a", 4), ("b", 8)):
        run_main("run", "t.yaml", "--output", tmp_path / name, "--store", tmp_path / "store", "--epsilon", epsilon)
    return tmp_path


def calls_left(run_main, capfd, shared, name, epsilon):
    capfd.readouterr()
    arguments = ("--output", shared / name, "--store", shared / "store", "--epsilon", epsilon)
    assert run_main("run", "t.yaml", *arguments) == 0
    out = capfd.readouterr().out
    return 0 if "nothing was left to call" in out else int(re.search(r"(\d+) calls were made", out)[1])


def test_gc_keeps_every_run_of_the_store_and_names_them(shared, run_main, capfd):
    capfd.readouterr()
    assert run_main("gc", shared / "a") == 0
    out = capfd.readouterr().out
    assert out.splitlines()[:2] == [f"{shared / name}: is kept whole" for name in "ab"]
    assert "2 runs need 2 images; 0 other objects and 0 copies of code are unused" in out
    assert calls_left(run_main, capfd, shared, "b", 8) == 0


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_gc_refuses_where_a_run_is_not_where_it_was(shared, run_main, capfd, options):
    """An output folder on a disk that is not mounted today would lose all that was computed for it."""
    (shared / "b").rename(shared / "away")
    assert run_main("gc", shared / "a", *options) == 1
    assert f"{shared / 'b'}: a run of the store {shared / 'store'} that is not there now; " in capfd.readouterr().err
    (shared / "away").rename(shared / "b")
    assert calls_left(run_main, capfd, shared, "b", 8) == 0


def test_gc_may_forget_a_run_that_is_gone(shared, run_main, capfd):
    shutil.rmtree(shared / "b")
    capfd.readouterr()
    for _ in range(2):
        assert run_main("gc", shared / "a", "--forget", "--dry-run") == 0
        assert f"{shared / 'b'}: forgotten\n" in capfd.readouterr().out
    assert run_main("gc", shared / "a", "--forget") == 0
    capfd.readouterr()
    assert run_main("gc", shared / "a") == 0, "what is forgotten is not asked for again"
    assert str(shared / "b") not in capfd.readouterr().out
    assert calls_left(run_main, capfd, shared, "a", 4) == 0
    assert calls_left(run_main, capfd, shared, "b", 8) == 1


def test_gc_keeps_the_run_that_it_is_given_even_where_the_store_does_not_know_it(shared, run_main, capfd):
    """As after a move of the output folder alone."""
    with closing(Store(shared / "store")) as store:
        for output in store.index.rounds():
            store.index.forget_round(output)
    capfd.readouterr()
    assert run_main("gc", shared / "a") == 0
    assert f"{shared / 'a'}: is kept whole\n" in capfd.readouterr().out
    assert calls_left(run_main, capfd, shared, "a", 4) == 0
    assert calls_left(run_main, capfd, shared, "b", 8) == 1


def test_gc_removes_what_was_being_written_at_a_kill(shared, run_main):
    folder = next((shared / "store" / "objects").glob("??"))
    (folder / ".0123456789abcdef").write_bytes(b"hal")
    assert run_main("gc", shared / "a") == 0
    assert not (folder / ".0123456789abcdef").exists()


def test_runs_and_their_store_may_be_moved_together(shared, run_main, capfd, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved") / "together"
    shared.rename(moved)
    capfd.readouterr()
    assert run_main("gc", moved / "a") == 0
    assert f"{moved / 'b'}: is kept whole\n" in capfd.readouterr().out
    assert run_main("score", moved / "b") == 0
    assert calls_left(run_main, capfd, moved, "b", 8) == 0


@pytest.mark.parametrize("through", ["link", "place"])
def test_an_output_folder_behind_a_link_finds_its_store(here, run_main, capfd, tmp_path, through):
    """Home folders often lead to another disk: `..` from there is not `..` from here."""
    place = tmp_path / "disk" / "deep" / "out"
    place.mkdir(parents=True)
    (tmp_path / "link").symlink_to(place)
    assert run_main("run", "t.yaml", "--output", tmp_path / "link", "--store", tmp_path / "store") == 0
    output = tmp_path / "link" if through == "link" else place
    assert run_main("status", output) == 0
    assert run_main("score", output) == 0
    capfd.readouterr()
    assert run_main("gc", output) == 0
    assert "1 runs need 2 images; 0 other objects" in capfd.readouterr().out


def test_plan_builds_no_dataset_and_run_does(here, run_main, capfd, tmp_path):
    """Plan is asked what would be done; to download a gigabyte is no answer."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "dataset.yaml").write_text("name: made\nbuild: build.py\n")
    (made / "build.py").write_text(
        f"import shutil\nfor name in ('images', 'dataset.csv'):\n    "
        f"source = {str(here / 'data')!r} + '/' + name\n    "
        f"(shutil.copytree if name == 'images' else shutil.copy)(source, "
        f"{str(made)!r} + '/' + name)\n"
    )
    keys = json.loads((here / "t.yaml").read_text()) | {"dataset": str(made), "output": str(tmp_path / "out")}
    (here / "made.yaml").write_text(json.dumps(keys))
    assert run_main("plan", "made.yaml") == 1
    assert f"make them with: harness dataset build {made}" in capfd.readouterr().err
    assert not (made / "images").exists()
    assert run_main("run", "made.yaml") == 0
    assert f"building the dataset made with {made / 'build.py'}" in capfd.readouterr().out


def test_run_ends_with_what_failed_also_where_it_failed_before(here, run_main, capfd, tmp_path):
    for name, program in {"noop": COPY, "bad": "#!/bin/sh\necho '[red]oh dear[/red]' >&2\nexit 3\n"}.items():
        write_submission(tmp_path / "players" / name, "attack", program)
    write_submission(tmp_path / "players" / "one", "defense", ANSWER % 1)
    keys = json.loads((here / "t.yaml").read_text()) | {"submissions": [str(tmp_path / "players" / "*")]}
    (here / "failing.yaml").write_text(json.dumps(keys | {"output": str(tmp_path / "out")}))
    for _ in range(2):
        assert run_main("run", "failing.yaml") == 0
        lines = capfd.readouterr().out.splitlines()
        board = next(number for number, line in enumerate(lines) if line.startswith("Defenses:"))
        failure = ["bad epsilon 16 batch 1: exit, exit code 3, 2 missing", "    [red]oh dear[/red]"]
        assert lines[board - 2 : board] == failure
    assert "nothing was left to call" in lines[-1]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_polite_kill_is_an_interrupt(failing, run_main, capfd, number):
    def wait_for_the_signal():
        os.kill(os.getpid(), number)
        time.sleep(5)
        return AssertionError("the signal did not arrive")

    signal.signal(number, lambda *_: None)
    failing(wait_for_the_signal)
    assert run_main("status", "out") == 130
    assert "the same command goes on from there" in capfd.readouterr().err


def test_a_second_signal_does_not_cut_the_clean_up_short(failing, run_main, capfd):
    def stop():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        finally:
            for number in STOPPING:
                os.kill(os.getpid(), number)
            time.sleep(0.01)
            print("cleaned up")
        return AssertionError("the signal did not arrive")

    failing(stop)
    assert run_main("status", "out") == 130
    assert capfd.readouterr().out == "cleaned up\n"


def test_under_nohup_a_run_outlives_its_terminal(failing, run_main, monkeypatch):
    def hang_up():
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.01)
        return UserError("still there")

    failing(hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_main("status", "out") == 1
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_afterwards_signals_are_what_they_were(here, run_main):
    before = [signal.getsignal(number) for number in STOPPING]
    run_main("status", "out")
    assert [signal.getsignal(number) for number in STOPPING] == before


def without_a_reader(*arguments):
    """The command with a standard output that nobody reads; output that is buffered is written only at the end."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        ended = subprocess.run(
            [sys.executable, "-m", "harness", *map(str, arguments)],
            env=environment | {"PYTHONPATH": str(ROOT)}, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [["dataset", "check", "data"], ["status", "out"], ["score", "out"], ["plan", "t.yaml"], ["gc", "out", "--dry-run"]],
    ids=lambda arguments: arguments[0],
)
def test_a_reader_that_goes_away_is_no_error(here, arguments):
    """As in `harness status out | head -0`."""
    assert without_a_reader(*arguments) == (0, "")


def test_a_run_goes_on_without_a_reader(here, tmp_path):
    """It takes hours, and the pager was closed after the first page."""
    assert without_a_reader("run", "t.yaml", "--output", tmp_path) == (0, "")
    assert json.loads((tmp_path / "leaderboard.json").read_text())["complete"]
    assert (tmp_path / "provenance.json").exists()
