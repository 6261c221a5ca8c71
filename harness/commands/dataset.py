"""`harness dataset`: build the images of a dataset, or look at every one of them."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.config import DatasetConfig
from harness.dataset import describe, load_dataset
from harness.errors import OK, UserError
from harness.intake import check_pictures
from harness.machine import usable_cores


def main(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.folder)
    if arguments.action == "build":
        build(folder)
        print(f"{folder}: built; harness dataset check {folder} looks at it")
        return OK
    dataset = load_dataset(DatasetConfig(path=folder))
    with ThreadPoolExecutor(len(usable_cores())) as pool:
        check_pictures(dataset, pool)
    for notice in dataset.notices:
        print(f"{folder}: {notice}")
    print(f"{folder}: {len(dataset.pictures)} images of {dataset.name} are in order")
    return OK


def build(folder: Path) -> None:
    """Runs the folder's own build script. Raises: UserError when it has none or it fails."""
    script = describe(folder).build
    if script is None:
        raise UserError(f"{folder}: dataset.yaml names no build script; see its README for where the images come from")
    ended = subprocess.run([sys.executable, folder / script], check=False)
    if ended.returncode:
        raise UserError(f"{folder}: {script} failed with exit code {ended.returncode}; its last line says why")


def build_if_missing(config: DatasetConfig, say: Callable[[str], None]) -> None:
    """Builds a dataset that can build itself and was not built yet."""
    if config.images is not None or config.metadata is not None or not config.path.is_dir():
        return
    description = describe(config.path)
    there = (config.path / "images").is_dir() and (config.path / description.metadata).exists()
    if description.build and not there:
        say(f"building the dataset {description.name} with {config.path / description.build}")
        build(config.path)
