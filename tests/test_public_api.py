"""The command line starts at once: what is heavy is imported where it is used, which only a fresh interpreter can
prove. And what the packaging promises is there."""

import importlib
import json
import subprocess
import sys
import tomllib

import pytest
from helpers import ROOT

import harness
from harness import cli

HEAVY = (
    "PIL", "docker", "fsspec", "jinja2", "matplotlib", "numpy", "pandas", "psutil", "pyarrow", "pydantic", "requests",
    "rich", "scipy", "torch", "yaml",
)  # fmt: skip
FOREIGN = ("advkit", "foolbox", "jax", "ray", "tensorflow", "torch", "submissions")

ON_RAY = ("ray", "ray_node", "ray_nodes")
"""Modules that a run on a Ray cluster alone imports."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def modules_after(program):
    """The top-level modules of a fresh interpreter that ran `program`."""
    report = "; import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program + report], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout.splitlines()[-1]))


def test_the_command_line_imports_nothing_heavy():
    loaded = modules_after("import harness.cli; harness.cli.build_parser()")
    assert "harness" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_a_usage_error_imports_nothing_heavy():
    program = "import harness.cli\ntry: harness.cli.main(['run', '--slots', 'x'])\nexcept SystemExit: pass\n0"
    assert modules_after(program).isdisjoint(HEAVY)


def test_no_module_of_the_referee_imports_a_framework_or_a_participant():
    attempts = ROOT / "harness/sandbox/attempts"  # programs for a container, no modules
    names = sorted(
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for path in (ROOT / "harness").rglob("*.py")
        if path.parent != attempts and path.stem not in ON_RAY
    )
    program = f"import importlib; [importlib.import_module(n) for n in {names} if not n.endswith('__main__')]"
    loaded = modules_after(program)
    assert "docker" in loaded
    assert loaded.isdisjoint(FOREIGN)


def test_scoring_needs_no_engine():
    program = "import harness.commands.score, harness.commands.status, harness.commands.plan, harness.commands.run"
    assert modules_after(program).isdisjoint({"docker", "jinja2", "matplotlib", "requests", "torch"})


def commands():
    (actions,) = (action.choices for action in cli.build_parser()._actions if action.dest == "command")
    return list(actions)


@pytest.mark.parametrize("command", commands())
def test_every_command_is_a_module_with_a_main(command):
    assert callable(importlib.import_module(f"harness.commands.{command}").main)


def test_the_entry_point_is_the_command_line():
    module, _, function = PROJECT["scripts"]["harness"].partition(":")
    assert getattr(importlib.import_module(module), function) is cli.main


def test_the_version_is_stated_once_and_the_same():
    assert PROJECT["version"] == harness.__version__


def test_the_module_can_be_run():
    ended = subprocess.run(
        [sys.executable, "-m", "harness", "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, f"harness {harness.__version__}\n")
