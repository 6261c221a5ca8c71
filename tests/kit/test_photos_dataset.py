"""`dataset/photos` is made by one command, the same each time, and its image names tell nothing about the labels."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / "dataset/photos"


def build(out_dir):
    command = [sys.executable, str(FOLDER / "build.py"), str(out_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_what_dataset_yaml_says(photos):
    description = yaml.safe_load((FOLDER / "dataset.yaml").read_text())
    with (photos.folder.parent / description["metadata"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["ImageId", "TrueLabel", "TargetClass"]
    assert [f"{row['ImageId']}.png" for row in rows] == [path.name for path in sorted(photos.folder.iterdir())]
    assert len(rows) == description["images"]
    for row in rows:
        assert row["TrueLabel"] != row["TargetClass"]
        assert 1 <= int(row["TrueLabel"]) <= description["labels"]["count"]
        assert 1 <= int(row["TargetClass"]) <= description["labels"]["count"]
        assert row["TrueLabel"] not in row["ImageId"]
    for path in photos.folder.iterdir():
        with Image.open(path) as image:
            assert (image.format, image.mode, [*image.size]) == ("PNG", "RGB", description["image_size"])


def test_building_again_gives_the_same_bytes_and_leaves_nothing_else(photos, tmp_path):
    for _ in range(2):
        assert build(tmp_path).returncode == 0
        assert files(tmp_path) == files(photos.folder.parent)


def test_without_the_package_there_is_one_line_and_no_half_data_set(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("build_photos", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="error: the photographs are in the package foolbox, which is missing"):
        module.build(tmp_path / "photos")
    assert not (tmp_path / "photos").exists()
