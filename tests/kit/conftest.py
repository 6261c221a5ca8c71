"""What the kit's tests share: the twenty photographs, and a way to call a submission as a referee does."""

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Photos:
    folder: Path
    true_labels: dict[str, int]
    target_labels: dict[str, int]


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    subprocess.run([sys.executable, ROOT / "dataset/photos/build.py", folder], check=True, timeout=60)
    with (folder / "dataset.csv").open(newline="") as file:
        rows = {f"{row['ImageId']}.png": row for row in csv.DictReader(file)}
    true, target = ({name: int(row[column]) for name, row in rows.items()} for column in ("TrueLabel", "TargetClass"))
    return Photos(folder / "images", true, target)


@pytest.fixture
def input_dir(photos, tmp_path):
    """Three photographs and their targets, as a targeted attack gets them."""
    folder = tmp_path / "input"
    folder.mkdir()
    for name in sorted(photos.target_labels)[:3]:
        shutil.copyfile(photos.folder / name, folder / name)
    lines = [f"{name},{label}\n" for name, label in photos.target_labels.items()]
    (folder / "target_class.csv").write_text("".join(lines))
    return folder


@pytest.fixture
def call(tmp_path):
    """Call the entry point of a submission from elsewhere, without a home, its interpreter first on the path."""

    def call(entry_point, *arguments, seed=0):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
        environment = {"PATH": path, "OMP_NUM_THREADS": "1", "HARNESS_SEED": str(seed)}
        command = [str(part) for part in (entry_point, *arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return call
