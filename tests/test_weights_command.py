"""`harness weights` hands everything after its action to the participant kit, and gives back its exit code."""

import subprocess
import sys

import pytest

from harness.commands import weights as command


@pytest.fixture
def called(monkeypatch):
    """The calls that would have been made; the child ends with exit code 7."""
    calls = []

    def run(command, check):
        calls.append(command)
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr(command.subprocess, "run", run)
    return calls


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "--folder", "a folder"],
        ["fetch", "--all"],
        ["fetch", "--help"],
        ["fetch", "a", "b", "--source", "npy_port", "--accept-unknown-checksum"],
        ["import", "a", "--format", "npy_port", "a.npy"],
    ],
    ids=" ".join,
)
def test_arguments_are_handed_on(run_main, called, arguments):
    assert run_main("weights", *arguments) == 7
    assert called == [[sys.executable, "-m", "advkit.weights", *arguments]]


def test_without_the_kit_the_line_says_what_to_install(run_main, called, monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert run_main("weights", "list") == 1
    assert capsys.readouterr().err == (
        "harness: weights belong to the participant kit, which is not installed: pip install --editable "
        "'submissions/kit[fetch]' --constraint constraints.txt (in the project's folder)\n"
    )
    assert called == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["list"], 0, "ens_adv_inception_resnet_v2"),
        (["list", "--registry", "nowhere.yaml"], 1, "harness weights: nowhere.yaml: cannot be read"),
        (["fetch"], 2, "usage: harness weights fetch"),
        (["download"], 2, "invalid choice: 'download'"),
    ],
    ids=["list", "an expected error", "wrong usage", "no such action"],
)
def test_the_real_one(tmp_path, arguments, code, said):
    done = subprocess.run(
        [sys.executable, "-m", "harness", "weights", *arguments],
        env={"HARNESS_WEIGHTS": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
