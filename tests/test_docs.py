"""Documentation cannot rot: what the program knows is described, and what is described is there."""

import argparse
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from harness.cli import build_parser
from harness.config import DatasetConfig, LimitsConfig, Tournament, load_tournament
from harness.dataset import Description, LabelSpace
from harness.publish import tables
from harness.records import Fault, Verdict
from harness.round import Unavailable
from harness.sandbox import THREAD_VARIABLES
from harness.scoring import POLICIES
from harness.submission import Metadata, find_submissions
from harness.weights import DEFAULT_FOLDER, VARIABLE

ROOT = Path(__file__).resolve().parent.parent
FORMATS = (ROOT / "docs" / "formats.md").read_text()
COMMANDS = (ROOT / "docs" / "commands.md").read_text()
README = (ROOT / "README.md").read_text()
FOLDERS = (".", "docs", "submissions", "benchmarks", "dataset/*")
PAGES = sorted(page for folder in FOLDERS for page in ROOT.glob(f"{folder}/*.md"))


def subparsers(parser: argparse.ArgumentParser | None = None, above: str = "") -> dict[str, argparse.ArgumentParser]:
    """Every parser by the words that lead to it, those of the actions of a command included: `dataset check`."""
    found = {}
    for action in (parser or build_parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                found |= {f"{above}{word}": below} | subparsers(below, f"{above}{word} ")
    return found


def test_the_actions_of_a_command_are_among_the_commands():
    assert {"run", "dataset", "dataset build", "dataset check"} <= set(subparsers())


@pytest.mark.parametrize("command", sorted(subparsers()))
def test_every_command_and_option_is_described(command):
    options = {
        option
        for action in subparsers()[command]._actions
        for option in action.option_strings
        if option.startswith("--") and "_" not in option and option not in ("--help", "--nosave-all-classification")
    }
    assert f"harness {command}" in COMMANDS
    assert sorted(option for option in options if option not in COMMANDS) == []


@pytest.mark.parametrize("model", [Tournament, DatasetConfig, Metadata, Description], ids=lambda model: model.__name__)
def test_every_key_is_described(model):
    keys = set(model.model_fields) - {"limits", "labels"} | (set() if model is not Metadata else {"labels"})
    assert sorted(key for key in keys if f"`{key}`" not in FORMATS) == []


@pytest.mark.parametrize(("prefix", "model"), [("limits", LimitsConfig), ("labels", LabelSpace)])
def test_every_nested_key_is_described(prefix, model):
    missing = [key for key in model.model_fields if f"`{prefix}.{key}`" not in FORMATS]
    assert missing == []


@pytest.mark.parametrize("key", sorted(set(Tournament.model_fields) & {"batch_size", "epsilon", "seed", "rules"}))
def test_described_defaults_are_the_real_ones(key):
    row = next(line for line in FORMATS.splitlines() if line.startswith(f"| `{key}` |"))
    assert row.split("|")[2].strip() == str(Tournament.model_fields[key].default)


def test_every_verdict_and_fault_is_described():
    assert [name for name in (*Verdict, *Fault) if f"`{name}`" not in FORMATS] == []


def test_every_variable_of_a_submission_is_described():
    assert [name for name in (*THREAD_VARIABLES, "HARNESS_SEED") if name not in FORMATS] == []


def test_the_weights_folder_is_described():
    assert f"`${VARIABLE}`" in FORMATS
    assert f"`{DEFAULT_FOLDER}`" in FORMATS


def test_what_the_board_says_of_who_is_unavailable_is_described():
    assert [field.name for field in fields(Unavailable) if f"`{field.name}`" not in FORMATS] == []
    assert "`unavailable`" in FORMATS


def test_every_rule_set_is_described():
    rules = (ROOT / "docs" / "rules.md").read_text()
    assert [name for name in POLICIES if f"`{name}`" not in rules] == []


def test_every_result_file_is_described():
    names = [f"{name}.csv" for name in (*tables.MATRICES, *tables.RANKINGS, "all_classification")]
    names += ["leaderboard.json", "leaderboard.md", "predictions.parquet", "attack_images.parquet", "provenance.json"]
    assert [name for name in names if name not in FORMATS] == []


def test_the_commands_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets
    assert set(re.findall(r"^ +harness ([a-z]+)", README, re.MULTILINE)) <= set(subparsers())
    assert set(re.findall(r"harness (dataset [a-z]+)", README + COMMANDS)) == {"dataset build", "dataset check"}
    assert {"run", "test"} <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("tournaments/*.yaml")), ids=lambda path: path.name)
def test_ready_tournaments_are_valid(path):
    tournament = load_tournament(path)
    assert tournament.dataset.path.is_dir()


@pytest.mark.parametrize("path", sorted(ROOT.glob("tournaments/*.yaml")), ids=lambda path: path.name)
def test_ready_tournaments_build_the_images_for_gpus_too(path):
    """Else a machine with a GPU asks a registry for an image that nobody published, and the run ends there."""
    tournament = load_tournament(path)
    missing = {
        metadata["container_gpu"]
        for folder in find_submissions(tournament.submissions)[0]
        if (metadata := json.loads((folder / "metadata.json").read_text())).get("container") in tournament.images
        and metadata.get("container_gpu", metadata["container"]) not in tournament.images
    }
    assert missing == set()


def test_the_versions_agree():
    import harness

    assert f'version = "{harness.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"## {harness.__version__}" in (ROOT / "CHANGELOG.md").read_text()
