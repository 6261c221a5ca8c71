"""The process sandbox takes care where it cannot isolate: it says so, leaves nothing behind, and blames nobody for us.

What it shares with the other sandbox is held by tests/contract.
"""

import errno
import os
import sys
import threading
from pathlib import Path

import pytest
from builders import first_pixel, first_pixel_dataset, rule_defense, write_attack, write_tournament
from engine import open_stage

from harness.errors import InfrastructureError
from harness.records import Verdict
from harness.sandbox import Setting
from harness.sandbox.process import Backend, environment_digest


@pytest.fixture
def stage(tmp_path):
    with open_stage("process", tmp_path) as stage:
        yield stage


def test_it_says_that_it_does_not_isolate(stage):
    assert not stage.backend.isolates


def test_programs_run_in_our_own_environment(stage):
    ending, _ = stage.run("#!/usr/bin/env python3\nimport sys\nprint(sys.prefix)")
    assert ending.log.strip() == sys.prefix


def test_the_runtime_is_named_by_every_distribution(stage):
    assert environment_digest() == Backend(Setting("other", {}))._runtime
    assert environment_digest().startswith("process:")


def test_no_gpu_is_visible_without_a_slot_that_has_one(stage):
    assert stage.run("env | grep CUDA")[0].log == "CUDA_VISIBLE_DEVICES=\n"
    assert stage.run("env | grep CUDA", gpu="GPU-1")[0].log == "CUDA_VISIBLE_DEVICES=GPU-1\n"


def test_its_temporary_folder_is_its_own_and_goes_however_deep(stage):
    program = """
        #!/usr/bin/env python3
        import os
        print(os.environ["TMPDIR"], os.environ["HOME"])
        os.chdir(os.environ["TMPDIR"])
        for _ in range(1200):
            os.mkdir("folder")
            os.chdir("folder")
    """
    folders = stage.run(program)[0].log.split()
    assert folders[0] == folders[1] != stage.run(program)[0].log.split()[0]
    assert not Path(folders[0]).exists()


def test_a_call_leaves_no_open_file(stage):
    stage.run("echo first")
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        stage.run("echo again; exit 1")
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_call_leaves_the_caller_its_cores(stage):
    before = os.sched_getaffinity(0)
    stage.run("echo done", cores=(min(before),))
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE, errno.ENOMEM, errno.ETXTBSY])
def test_a_start_that_fails_for_want_of_resources_is_ours(stage, monkeypatch, number):
    def refuse(*arguments, **keywords):
        raise OSError(number, os.strerror(number))

    job = stage.stage("echo never")
    monkeypatch.setattr("harness.sandbox.process.subprocess.Popen", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        stage.backend.run(job, threading.Event())


def test_an_entry_point_that_may_not_be_run_is_its_own_failure(stage):
    job = stage.stage("echo never")
    (job.code / "run").chmod(0o644)
    ending = stage.backend.run(job, threading.Event())
    assert (ending.verdict, ending.exit_code) == (Verdict.EXIT, 126)
    assert "Permission denied" in ending.log


def test_cores_that_are_not_there_are_ours(stage):
    with pytest.raises(InfrastructureError, match="cores"):
        stage.run("echo never", cores=(4096,))


def test_strangers_need_a_word_of_trust(tmp_path, run_main, capsys):
    first_pixel_dataset(tmp_path / "dataset")
    write_attack(tmp_path / "submissions/noop", "pass")
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    path = write_tournament(tmp_path / "tiny.yaml", trust_submissions=False)
    assert run_main("run", path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not isolate" in line
    assert "--trust-submissions" in line
    assert run_main("run", path, "--trust-submissions") == 0
    assert "does not isolate" in capsys.readouterr().out
