"""The process sandbox takes care where it cannot isolate: it says so, leaves nothing behind, and blames nobody for us.

What it shares with the other sandbox is held by tests/contract.
"""

import errno
import importlib.metadata
import json
import os
import site
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from builders import (
    first_pixel,
    first_pixel_dataset,
    play_file,
    rule_defense,
    write_attack,
    write_submission,
    write_tournament,
)
from engine import open_stage
from helpers import ROOT

from harness.errors import InfrastructureError
from harness.records import Verdict
from harness.sandbox import Setting
from harness.sandbox.environment import environment_digest
from harness.sandbox.process import NO_CONTAINERS, Backend
from harness.submission import UnavailableError, load_submission


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


def test_the_runtime_is_what_a_submission_finds_and_not_what_a_library_put_on_our_path(tmp_path, monkeypatch):
    """Ray brings distributions of its own, in a folder that it puts on the path once it is imported."""
    before = environment_digest()
    (tmp_path / "brought-1.0.dist-info").mkdir()
    (tmp_path / "brought-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.metadata.version("brought") == "1.0"
    assert environment_digest() == before


def test_the_runtime_does_not_depend_on_the_folder_that_one_stands_in(tmp_path):
    """What is built in the working directory is found there as well as where it is installed."""
    (tmp_path / "pytest.egg-info").mkdir()
    (tmp_path / "pytest.egg-info/PKG-INFO").write_text(f"Name: pytest\nVersion: {pytest.__version__}\n")
    program = "from harness.sandbox.environment import environment_digest as digest; print(digest())"
    here, there = (
        subprocess.run([sys.executable, "-c", program], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)},
                       capture_output=True, text=True, check=True).stdout
        for folder in (tmp_path, tmp_path.parent)
    )  # fmt: skip
    assert here == there


@pytest.fixture
def local(tmp_path):
    """A distribution `edited` that lies in `project`; its folder, and a function that gives the runtime's digest."""
    about = tmp_path / "edited-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: edited\nVersion: 1.0\n")
    (tmp_path / "project").mkdir()

    def digest(**origin):
        url = {"url": (tmp_path / "project").as_uri()}
        (about / "direct_url.json").write_text(json.dumps(url | (origin or {"dir_info": {"editable": True}})))
        return environment_digest([str(tmp_path), *site.getsitepackages()])

    return about, digest


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("top_level", "place"),
    [
        ("edited\n", "edited/__init__.py"),
        ("edited\n", "edited/table.yaml"),
        ("edited\n", "edited.py"),
        ("edited\n", "src/edited/__init__.py"),
        ("other\nedited\n", "src/edited/__init__.py"),
        (None, "edited/__init__.py"),
    ],
    ids=["package", "data", "module", "src", "half-in-src", "no-top-level"],
)
def test_the_runtime_changes_with_a_package_that_is_edited_where_it_lies(local, tmp_path, top_level, place):
    """Else a change of the participant kit would leave every result of before it standing."""
    about, digest = local
    if top_level:
        write(about / "top_level.txt", top_level)
    write(tmp_path / "project/other/__init__.py", "")
    digests = []
    for text in ("x = 1", "x = 2", "x = 1"):
        write(tmp_path / "project" / place, text)
        digests.append(digest())
    assert digests[0] == digests[2] != digests[1]


def test_what_is_not_the_projects_own_does_not_change_the_runtime(local, tmp_path):
    """Neither what an editor leaves beside an open file (Emacs: a link that leads nowhere) nor what was installed."""
    about, digest = local
    write(tmp_path / "project/src/edited/__init__.py", "x = 1")
    before = digest()
    (tmp_path / "project/src/edited/.#x.py").symlink_to("somebody@host.1:2")
    for place in (".venv/x.py", "venv/lib/site-packages/x.py", "node_modules/x.py", ".git/x.py", "notes.txt"):
        write(tmp_path / "project" / place, "x = 2")
    assert digest() == before
    write(about / "top_level.txt", "edited\n")
    write(tmp_path / "project/edited/__init__.py", "x = 1")
    before = digest()
    (tmp_path / "project/edited/.#x.py").symlink_to("somebody@host.1:2")
    assert digest() == before


def test_the_runtime_changes_with_what_is_installed_again_from_a_folder_of_this_machine(local):
    about, digest = local
    digests = []
    for number in (1, 2, 1):
        write(about / "RECORD", f"edited/__init__.py,sha256={number},5\n")
        digests.append((digest(dir_info={}), digest(url="https://example.org/edited-1.0.tar.gz", archive_info={})))
    folder, download = zip(*digests, strict=True)
    assert folder[0] == folder[2] != folder[1]
    assert len(set(download)) == 1, "a version of what was published has the same files for ever"


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


def own_image(folder, text="FROM python:3.11-slim\n", **more):
    write_submission(folder, "#!/bin/sh\n", **{"container": "own:1"} | more)
    (folder / "Dockerfile").write_text(text)
    return folder


def test_who_brings_packages_of_its_own_cannot_be_played(stage, tmp_path):
    submission = load_submission(own_image(tmp_path / "own"))
    with pytest.raises(UnavailableError) as caught:
        stage.backend.prepare(submission, use_gpu=False)
    assert (caught.value.reason, caught.value.remedy) == (NO_CONTAINERS, "--sandbox docker")


@pytest.mark.parametrize(
    ("given", "playable"),
    [("its own folder", False), ("a copy of it", False), ("another one", True), ("one without a Dockerfile", True)],
)
def test_an_image_of_the_organiser_stands_for_our_own_environment_unless_it_is_the_submissions(
    stage, tmp_path, given, playable
):
    own = own_image(tmp_path / "own")
    folders = {"its own folder": own, "a copy of it": own_image(tmp_path / "copy")}
    folders["another one"] = own_image(tmp_path / "other", "FROM debian\n")
    folders["one without a Dockerfile"] = tmp_path
    backend = stage.open(**{"own:1": folders[given]})
    if playable:
        assert backend.prepare(load_submission(own), use_gpu=False) == environment_digest()
    else:
        with pytest.raises(UnavailableError):
            backend.prepare(load_submission(own), use_gpu=False)


def test_the_image_for_gpus_is_another_one(stage, tmp_path):
    submission = load_submission(own_image(tmp_path / "own", container_gpu="organiser:1"))
    backend = stage.open(**{"organiser:1": own_image(tmp_path / "other", "FROM debian\n")})
    assert backend.prepare(submission, use_gpu=True) == environment_digest()
    with pytest.raises(UnavailableError):
        backend.prepare(submission, use_gpu=False)


def test_a_round_goes_on_without_who_needs_a_container(tmp_path):
    first_pixel_dataset(tmp_path / "dataset")
    write_attack(tmp_path / "submissions/noop", "pass")
    rule_defense(tmp_path / "submissions/first_pixel", first_pixel)
    own_image(tmp_path / "submissions/own", role="defense")
    board = play_file(write_tournament(tmp_path / "tiny.yaml")).board
    assert board["complete"]
    assert board["unavailable"] == [
        {"name": "own", "type": "defense", "reason": NO_CONTAINERS, "remedy": "--sandbox docker"}
    ]


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
