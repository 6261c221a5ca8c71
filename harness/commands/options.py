"""From the command line to a tournament or to a run's folder, the same for every command."""

import argparse
import glob
import os
from pathlib import Path
from typing import Any

from harness.config import Tournament, is_folder, load_tournament, tournament_from_flags
from harness.errors import UserError

DIRECT = (
    "name", "epsilon", "batch_size", "limit", "slots", "seed", "rules", "gpu", "runtime", "executor", "ray_address",
)  # fmt: skip
"""Options that stand for a key of the tournament file (`limit` for the one of its dataset)."""


def tournament_of(arguments: argparse.Namespace) -> Tournament:
    """The tournament that the command line names. Raises: UserError with every fault of it."""
    overrides = _overrides(arguments)
    if arguments.tournament:
        return load_tournament(Path(arguments.tournament), overrides)
    wanted = {
        "--attacks-dir or --targeted-attacks-dir": "submissions",
        "--dataset-dir": "dataset",
        "--output-dir": "output",
    }
    missing = [flag for flag, key in wanted.items() if key not in overrides]
    if missing:
        raise UserError(f"no tournament: give a tournament file, or the 2017 flags ({', '.join(missing)} missing)")
    overrides.setdefault("name", Path(overrides["output"]).name)
    return tournament_from_flags(overrides)


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keys of the tournament file that the command line gives, paths taken from the working directory."""
    found = {key: getattr(arguments, key) for key in DIRECT if getattr(arguments, key) is not None}
    if sandbox := arguments.sandbox or os.environ.get("HARNESS_SANDBOX"):
        found["sandbox"] = sandbox
    if arguments.versions_per_call:
        found["versions_per_call"] = 1 if arguments.versions_per_call == "1" else "all"
    if arguments.trust_submissions:
        found["trust_submissions"] = True
    for key, value in (("output", arguments.output_dir), ("store", arguments.store), ("seccomp", arguments.seccomp)):
        if value:
            found[key] = os.path.abspath(value)
    if arguments.objects:
        found["objects"] = os.path.abspath(arguments.objects) if is_folder(arguments.objects) else arguments.objects
    folders = [arguments.attacks_dir, arguments.targeted_attacks_dir, arguments.defenses_dir]
    if any(folders):
        given = [os.path.abspath(folder) for folder in folders if folder and not _is_empty(folder)]
        found["submissions"] = [os.path.join(glob.escape(folder), "*") for folder in given]
    return found | _dataset(arguments)


def _is_empty(folder: str) -> bool:
    """The 2017 toolkit took an empty folder for no submissions of that kind."""
    return os.path.isdir(folder) and not os.listdir(folder)


def _dataset(arguments: argparse.Namespace) -> dict[str, Any]:
    """`dataset:` from --dataset-dir and --dataset-metadata; a folder with its own `images` serves too."""
    if not arguments.dataset_dir:
        return {}
    folder = os.path.abspath(arguments.dataset_dir)
    images = os.path.join(folder, "images")
    dataset = {"path": folder, "images": images if os.path.isdir(images) else folder}
    if arguments.dataset_metadata:
        dataset["metadata"] = os.path.abspath(arguments.dataset_metadata)
    return {"dataset": dataset}


def output_of(arguments: argparse.Namespace) -> Path:
    """The output folder of a run that is named by itself or by its tournament file."""
    return folder_of(arguments.run)


def folder_of(run: str) -> Path:
    """The same, for a run by its name."""
    path = Path(run)
    return load_tournament(path).output if path.suffix in (".yaml", ".yml") else path
