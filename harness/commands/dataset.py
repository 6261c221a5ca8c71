"""`harness dataset`: build the images of a dataset, or look at every one of them and at the labels."""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.baseline import DEFAULT_BASELINE, DEFAULT_SPACE, FEWEST, Baseline, BaselineFailedError, agreement, judge
from harness.config import DatasetConfig
from harness.dataset import Dataset, describe, load_dataset
from harness.errors import OK, UserError
from harness.intake import check_pictures
from harness.machine import usable_cores
from harness.schema import validate
from harness.submission import UnavailableError


def main(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.folder)
    if arguments.action == "build":
        build(folder, arguments.script_arguments)
        print(f"{folder}: built; harness dataset check {folder} looks at it")
        return OK
    given = {"images": arguments.images, "metadata": arguments.metadata, "limit": arguments.limit}
    config = validate(DatasetConfig, {"path": arguments.folder} | given, "command line")
    dataset = load_dataset(config)
    with ThreadPoolExecutor(len(usable_cores())) as pool:
        check_pictures(dataset, pool)
    for notice in dataset.notices:
        _say(f"{folder}: {notice}")
    _say(f"{folder}: {len(dataset.pictures)} images of {dataset.name} are in order")
    if not arguments.no_baseline:
        _check_labels(arguments, config, dataset)
    return OK


def _check_labels(arguments: argparse.Namespace, config: DatasetConfig, dataset: Dataset) -> None:
    """Compares the labels with a baseline's answers. Raises: UserError where they look shifted.

    A baseline that nobody asked for and that cannot play here is a notice: the images are in order all the same.
    """
    why_not = _why_not(dataset, arguments.baseline)
    if why_not:
        _say(f"the labels were not compared with a baseline: {why_not}")
        return
    folder = Path(arguments.baseline or DEFAULT_BASELINE)
    try:
        found = agreement(Baseline(folder, arguments.sandbox, arguments.trust_submissions), dataset, _say)
    except (BaselineFailedError, UnavailableError) as error:
        if arguments.baseline:
            raise
        _say(f"{error}; name another with --baseline")
        return
    metadata = config.metadata or config.path / describe(config.path).metadata
    for line in judge(found, metadata, folder.name, dataset.labels):
        _say(line)


def _why_not(dataset: Dataset, baseline: str | None) -> str:
    """Why the labels cannot be compared; empty where they can."""
    if len(dataset.pictures) < FEWEST:
        return f"{len(dataset.pictures)} images are too few"
    if baseline:
        return ""
    if dataset.labels.space != DEFAULT_SPACE:
        return f"there is none for the label space {dataset.labels.space}; name one with --baseline"
    return "" if DEFAULT_BASELINE.is_dir() else f"{DEFAULT_BASELINE} is not there; name one with --baseline"


def _say(line: str) -> None:
    print(line, flush=True)


def build(folder: Path, arguments: Sequence[str] = ()) -> None:
    """Runs the folder's own build script. Raises: UserError when it has none or it fails."""
    script = describe(folder).build
    if script is None:
        raise UserError(f"{folder}: dataset.yaml names no build script; see its README for where the images come from")
    ended = subprocess.run([sys.executable, folder / script, *arguments], check=False)
    if ended.returncode:
        raise UserError(f"{folder}: {script} failed with exit code {ended.returncode}; its last line says why")


def build_if_missing(config: DatasetConfig, say: Callable[[str], None]) -> None:
    """Builds a dataset that can build itself and was not built yet, where its description lets a run begin that."""
    if config.images is not None or config.metadata is not None or not config.path.is_dir():
        return
    description = describe(config.path)
    there = (config.path / "images").is_dir() and (config.path / description.metadata).exists()
    if description.build and description.build_with_run and not there:
        say(f"building the dataset {description.name} with {config.path / description.build}")
        build(config.path)
