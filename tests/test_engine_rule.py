"""Tests that are skipped for want of an engine look green: with HARNESS_REQUIRE_DOCKER=1 a missing engine is a failure,
on a developer's machine it is a skip with its reason."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

TESTS = """
import pytest

def test_plain(): pass

@pytest.mark.docker
def test_marked(): pass

def test_with_the_fixture(docker_engine): pass
"""


@pytest.mark.parametrize(
    ("required", "code", "counts", "reason"),
    [
        ("", 0, "1 passed, 2 skipped", "no Docker engine answers: start one or set DOCKER_HOST"),
        ("1", 1, "1 passed, 2 errors", "HARNESS_REQUIRE_DOCKER=1"),
    ],
    ids=["laptop", "ci"],
)
def test_without_an_engine(tmp_path, required, code, counts, reason):
    (tmp_path / "test_three.py").write_text(TESTS)
    environment = {
        "DOCKER_HOST": "unix:///nowhere",
        "HARNESS_REQUIRE_DOCKER": required,
        "PYTHONPATH": str(ROOT / "tests"),
        "PYTEST_ADDOPTS": "",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        "-c",
        ROOT / "pyproject.toml",
    ]
    ended = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'inner'}", tmp_path / "test_three.py"],
        cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == code, ended.stdout
    assert counts in ended.stdout
    assert reason in ended.stdout
