"""A wrong label base or a missing picture would make a whole evaluation worthless: every fault of a dataset is named
before anything is played, and a part of the competition's image set is taken as it is."""

import pytest
from helpers import data_folder, write_dataset
from hypothesis import given
from hypothesis import strategies as st

from harness.commands.dataset import build, build_if_missing
from harness.config import DatasetConfig
from harness.dataset import COLUMNS, MAX_FAULTS, LabelSpace, describe, load_dataset
from harness.errors import UserError
from harness.intake import size_of

NIPS = "ImageId,URL,x1,y1,x2,y2,TrueLabel,TargetClass,OriginalLandingURL,License,Author,AuthorProfileURL\n"

ZERO_BASED = "the list looks 0-based: add 1 to TrueLabel and TargetClass of every row"


@pytest.fixture
def folder(tmp_path):
    return write_dataset(tmp_path / "data")


def load(folder, **options):
    return load_dataset(DatasetConfig(path=folder, **options))


def faults(folder, **options):
    """The lines of the error, with the dataset's folder left out."""
    with pytest.raises(UserError) as caught:
        load(folder, **options)
    return [line.replace(f"{folder}/", "") for line in caught.value.faults]


def rewrite(folder, *rows, header="ImageId,TrueLabel,TargetClass"):
    (folder / "dataset.csv").write_text("\n".join([header, *rows]) + "\n")


def test_pictures_come_in_the_order_of_the_csv(folder):
    rewrite(folder, "img2,3,503", "img0,1,501", "img3,4,504", "img1,2,502")
    found = load(folder)
    assert [picture.id for picture in found.pictures] == ["img2", "img0", "img3", "img1"]
    assert found.pictures[0].path == folder / "images" / "img2.png"
    assert (found.pictures[0].true_label, found.pictures[0].target_class) == (3, 503)
    assert (found.name, found.labels, found.image_size, found.notices) == ("tiny", LabelSpace(), None, ())


def test_columns_are_found_by_name_as_in_the_competitions_file(folder):
    rows = [f'img{n},https://x/{n},0,0,1,1,{n + 1},{n + 501},https://y,CC BY,"Doe, J.",z\r\n' for n in range(4)]
    (folder / "dataset.csv").write_bytes(("\ufeff" + NIPS + "".join(rows)).encode())
    assert [(p.true_label, p.target_class) for p in load(folder).pictures] == [(n + 1, n + 501) for n in range(4)]


def test_the_competitions_own_folder():
    found = load(data_folder("nips2017-dev-400"))
    assert len(found.pictures) == 400
    first = found.pictures[0]
    assert (first.id, first.true_label, first.target_class) == ("00312c7e7196baf4", 327, 220)
    assert size_of(found) == (299, 299)


def test_a_limit_takes_the_first_of_the_csv(folder):
    assert [picture.id for picture in load(folder, limit=2).pictures] == ["img0", "img1"]
    assert len(load(folder, limit=99).pictures) == 4


def test_images_and_csv_may_lie_elsewhere(folder, tmp_path):
    (folder / "images").rename(tmp_path / "pixels")
    (folder / "dataset.csv").rename(tmp_path / "labels.csv")
    found = load(folder, images=tmp_path / "pixels", metadata=tmp_path / "labels.csv")
    assert len(found.pictures) == 4


def test_without_a_description_the_only_csv_is_taken(tmp_path):
    folder = write_dataset(tmp_path / "plain", description=None)
    (folder / "dataset.csv").rename(folder / "dev_dataset.csv")
    found = load(folder)
    assert (found.name, found.labels.space, len(found.pictures)) == ("plain", "imagenet-1001", 4)


def test_rows_without_a_picture_are_a_notice(folder):
    (folder / "images" / "img1.png").unlink()
    found = load(folder)
    assert [picture.id for picture in found.pictures] == ["img0", "img2", "img3"]
    assert found.notices == ("1 of 4 rows of the CSV have no image here and are not played",)


def test_rows_without_a_picture_are_a_fault_where_a_count_is_promised(folder):
    (folder / "dataset.yaml").write_text("name: tiny\nimages: 4\n")
    assert len(load(folder).pictures) == 4
    (folder / "images" / "img1.png").unlink()
    (line,) = faults(folder)
    assert line.startswith("images: holds 3 of the 4 images that dataset.yaml promises, the first absent is img1; ")


def test_a_picture_without_a_row_is_a_fault(folder):
    rewrite(folder, "img0,1,501", "img2,3,503")
    assert faults(folder) == [
        f"images/img{number}.png: has no row in the CSV; add one or remove the image" for number in (1, 3)
    ]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("img1,2", "needs ImageId and two integers, has 'img1,2'; mend the row"),
        ("img1,two,502", "needs ImageId and two integers, has 'img1,two,502'; mend the row"),
        ("img1,2.0,502", "needs ImageId and two integers, has 'img1,2.0,502'; mend the row"),
        ("img1,0,502", f"TrueLabel 0 is outside the label space 1..1000; {ZERO_BASED}"),
        ("img1,2,0", f"TargetClass 0 is outside the label space 1..1000; {ZERO_BASED}"),
        ("img1,2,1001", "TargetClass 1001 is outside the label space 1..1000; check the label base"),
        ("img1,2,-5", "TargetClass -5 is outside the label space 1..1000; check the label base"),
        ("img0,2,502", "ImageId img0 is there twice; remove one row"),
        ("../img1,2,502", "ImageId '../img1' is no plain file name; rename the image"),
        (".img1,2,502", "ImageId '.img1' is no plain file name; rename the image"),
        ("-img1,2,502", "ImageId '-img1' is no plain file name; rename the image"),
        ("a/b,2,502", "ImageId 'a/b' is no plain file name; rename the image"),
        ('"a,b",2,502', "ImageId 'a,b' is no plain file name; rename the image"),
        ('"a""b",2,502', "ImageId 'a\"b' is no plain file name; rename the image"),
        ("a\tb,2,502", "ImageId 'a\\tb' is no plain file name; rename the image"),
        ("a\u202eb,2,502", "ImageId 'a\\u202eb' is no plain file name; rename the image"),
        ("a\x1b[31m,2,502", "ImageId 'a\\x1b[31m' is no plain file name; rename the image"),
        (",2,502", "ImageId '' is no plain file name; rename the image"),
    ],
    ids=[
        "short",
        "word",
        "float",
        "zero",
        "zero-target",
        "beyond",
        "negative",
        "twice",
        "path",
        "hidden",
        "option",
        "slash",
        "comma",
        "quote",
        "tab",
        "right-to-left",
        "escape",
        "empty",
    ],
)
def test_a_bad_row_is_named_with_its_line(folder, row, fault):
    rewrite(folder, "img0,1,501", row, "img2,3,503", "img3,4,504")
    assert faults(folder) == [f"dataset.csv:3: {fault}"]


@pytest.mark.parametrize("name", ["1", "n02-1", "a b", "ILSVRC.val-1", "\u00e9t\u00e9", "a'b", "x;y", "100%"])
def test_other_names_are_taken(folder, name):
    (folder / "images" / "img1.png").rename(folder / "images" / f"{name}.png")
    rewrite(folder, "img0,1,501", f"{name},2,502", "img2,3,503", "img3,4,504")
    assert load(folder).pictures[1].id == name


def test_all_bad_rows_are_named_at_once_up_to_a_number(folder):
    rewrite(folder, *(f"img{number},0,x" for number in range(MAX_FAULTS + 5)))
    lines = faults(folder)
    assert len(lines) == MAX_FAULTS + 1
    assert lines[-1] == "... and 5 more faults"


def test_empty_lines_are_no_rows(folder):
    rewrite(folder, "img0,1,501", "", "img1,2,502", ",,", "img2,3,503", "img3,4,504", "")
    assert len(load(folder).pictures) == 4


@pytest.mark.parametrize("missing", COLUMNS)
def test_a_missing_column_is_named(folder, missing):
    rewrite(folder, header=",".join(name for name in COLUMNS if name != missing))
    assert faults(folder) == [
        f"dataset.csv: has no column {missing}; the first row must name ImageId,TrueLabel,TargetClass"
    ]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "has no column ImageId, TrueLabel, TargetClass"),
        (b"ImageId,\xff\n", "cannot be read as a CSV in UTF-8"),
        (b'ImageId,TrueLabel,TargetClass\n"' + b"x" * 200_000, "cannot be read as a CSV in UTF-8"),
    ],
    ids=["empty", "latin", "endless-field"],
)
def test_a_csv_that_is_none(folder, data, fault):
    (folder / "dataset.csv").write_bytes(data)
    (line,) = faults(folder)
    assert line.startswith(f"dataset.csv: {fault}")


@given(data=st.binary(max_size=200))
def test_whatever_is_in_the_csv_gives_pictures_or_lines(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("csv")
    (folder / "images").mkdir()
    (folder / "dataset.csv").write_bytes(b"ImageId,TrueLabel,TargetClass\n" + data)
    assert faults(folder)


def test_folders_that_are_missing(tmp_path, folder):
    assert faults(tmp_path / "absent") == [
        f"{tmp_path / 'absent'}: no such dataset folder; check the path after 'dataset'"
    ]
    (folder / "dataset.csv").unlink()
    (line,) = faults(folder)
    assert line.startswith("dataset.csv: no such CSV of labels; ")


def test_images_that_are_missing_say_how_to_get_them(tmp_path):
    (tmp_path / "dataset.yaml").write_text("name: x\nbuild: build.py\n")
    (line,) = faults(tmp_path)
    assert line == f"images: the dataset's images are not there; make them with: harness dataset build {tmp_path}"
    (tmp_path / "dataset.yaml").write_text("name: x\n")
    (line,) = faults(tmp_path)
    assert "see the README of the folder" in line


def test_no_row_has_a_picture(folder):
    for path in (folder / "images").iterdir():
        path.unlink()
    assert faults(folder) == ["images: holds no image that dataset.csv names; check both paths"]
    (folder / "dataset.yaml").write_text("name: x\nbuild: build.py\n")
    (line,) = faults(folder)
    assert line.endswith(f"names; make them with: harness dataset build {folder}")


# --- dataset.yaml


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("naem: x", "naem: unknown key; did you mean name?"),
        ("name: x\nimage_size: [299]", "image_size"),
        ("name: x\nlabels: {frist: 0}", "labels.frist: unknown key; did you mean first?"),
        (
            "name: x\nlabels: {first: 1, count: 2}\nclass_names: {1: cat, 3: dog}",
            "class_names: names 3, which is no label of 1..2",
        ),
        ("name: x\nlabels: {first: -2}", "labels.first: should be greater than or equal to 0; got -2"),
        ("name: x\nlabels: {background: -1}", "labels.background: should be greater than or equal to 0; got -1"),
        ("name: x\nlabels: {count: 1}", "labels.count: should be greater than or equal to 2; got 1"),
        *(
            (f"name: x\nbuild: {value}", "build: is the name of a Python script in the dataset's own folder")
            for value in ("make", "../build.py", "/tmp/build.py", "scripts/build.py", "build.py --fast", "''")
        ),
        ("[x]", "holds a list, not a mapping"),
    ],
)
def test_a_description_that_is_wrong(folder, text, fault):
    (folder / "dataset.yaml").write_text(text)
    assert any(line.startswith(f"dataset.yaml: {fault}") for line in faults(folder))


def test_a_description_states_size_and_labels(folder):
    (folder / "dataset.yaml").write_text(
        "name: x\nimage_size: [8, 6]\nlabels: {space: cifar10, first: 0, count: 10, background: null}\n"
    )
    rewrite(folder, *(f"img{number},{number},{number + 5}" for number in range(4)))
    found = load(folder)
    assert found.image_size == (8, 6)
    assert found.labels == LabelSpace(space="cifar10", first=0, count=10, background=None)


@given(st.integers(0, 5), st.integers(2, 6), st.none() | st.integers(0, 12), st.integers(-3, 15))
def test_a_label_space_is_its_classes_and_its_background(first, count, background, label):
    labels = LabelSpace(first=first, count=count, background=background)
    classes = list(range(first, first + count))
    assert labels.last == classes[-1]
    assert labels.has_class(label) is (label in classes)
    assert labels.accepts(label) is (label in [*classes, background])


# --- harness dataset


@pytest.fixture
def self_made(tmp_path):
    """A dataset that its own script builds."""
    (tmp_path / "dataset.yaml").write_text("name: made\nbuild: build.py\n")
    (tmp_path / "build.py").write_text(
        "from pathlib import Path\nhere = Path(__file__).parent\n(here / 'images').mkdir(exist_ok=True)\n"
        "(here / 'dataset.csv').write_text('ImageId,TrueLabel,TargetClass\\n')\n(here / 'runs').open('a').write('x')\n"
    )
    return tmp_path


def test_a_dataset_is_built_once_before_it_is_first_played(self_made):
    said = []
    build_if_missing(DatasetConfig(path=self_made), said.append)
    build_if_missing(DatasetConfig(path=self_made), said.append)
    assert (self_made / "runs").read_text() == "x"
    assert said == [f"building the dataset made with {self_made / 'build.py'}"]


def test_a_build_script_that_is_not_there_or_fails(self_made, folder):
    with pytest.raises(UserError, match=r"dataset\.yaml names no build script; see its README"):
        build(folder)
    (self_made / "build.py").write_text("raise SystemExit(3)")
    with pytest.raises(UserError, match=r"build\.py failed with exit code 3"):
        build(self_made)


def test_an_absent_description_is_the_competitions(tmp_path):
    assert describe(tmp_path).metadata == "dataset.csv"
