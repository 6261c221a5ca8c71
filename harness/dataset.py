"""A dataset: pictures with a true label and a target class each, and the space that labels live in."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from harness.config import DatasetConfig, read_yaml
from harness.errors import UserError
from harness.schema import Schema, validate

COLUMNS = ("ImageId", "TrueLabel", "TargetClass")
"""What the CSV must have at least, in the words of the 2017 competition."""

MAX_FAULTS = 20


class LabelSpace(Schema):
    """Classes first..first+count-1; `background` is a further answer that a defense may give."""

    space: str = "imagenet-1001"
    first: int = Field(1, ge=0)
    count: int = Field(1000, ge=2)
    background: int | None = Field(0, ge=0)

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def has_class(self, label: int) -> bool:
        return self.first <= label <= self.last

    def accepts(self, label: int) -> bool:
        """Whether a defense may answer `label`."""
        return self.has_class(label) or label == self.background


class Description(Schema):
    """`dataset.yaml`. images: how many there must be. build: a script of the folder that makes the images.
    build_with_run: whether `harness run` may start it by itself; false where it takes what others have to give.
    class_names: what a label is called, where that is known; for readers alone.
    """

    name: str
    description: str = ""
    source: str = ""
    licence: str = ""
    metadata: str = "dataset.csv"
    images: int | None = None
    image_size: tuple[int, int] | None = Field(None, strict=False)
    labels: LabelSpace = LabelSpace()
    class_names: dict[int, str] = Field(default_factory=dict)
    build: str | None = None
    build_with_run: bool = True

    @field_validator("class_names")
    @classmethod
    def _of_labels(cls, value: dict[int, str], info: ValidationInfo) -> dict[int, str]:
        if labels := info.data.get("labels"):  # absent where it has a fault of its own
            for label in value:
                if not labels.accepts(label):
                    raise ValueError(f"names {label}, which is no label of {labels.first}..{labels.last}")
        return value

    @field_validator("build")
    @classmethod
    def _inside_folder(cls, value: str | None) -> str | None:
        if value is not None and (not value.endswith(".py") or "/" in value):
            raise ValueError("is the name of a Python script in the dataset's own folder, such as build.py")
        return value


@dataclass(frozen=True)
class Picture:
    """One row of the CSV and its file; labels as in the CSV."""

    id: str
    path: Path
    true_label: int
    target_class: int


@dataclass(frozen=True)
class Dataset:
    """Pictures in the order of the CSV. image_size: (width, height), None where nothing states it."""

    name: str
    pictures: tuple[Picture, ...]
    labels: LabelSpace
    image_size: tuple[int, int] | None
    notices: tuple[str, ...] = ()


def describe(folder: Path) -> Description:
    """The folder's `dataset.yaml`, or what the 2017 competition took for granted where there is none."""
    path = folder / "dataset.yaml"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such dataset folder; check the path after 'dataset'")
    if not path.exists():
        found = sorted(file.name for file in folder.glob("*.csv"))
        return Description(name=folder.name, metadata=found[0] if len(found) == 1 else "dataset.csv")
    return validate(Description, read_yaml(path, "dataset description"), str(path))


def load_dataset(config: DatasetConfig) -> Dataset:
    """Reads the CSV and pairs it with the files; no pixel is read.

    Raises: UserError naming every fault found, at most MAX_FAULTS of them.
    """
    description = describe(config.path)
    images = config.images or config.path / "images"
    metadata = config.metadata or config.path / description.metadata
    if not images.is_dir():
        raise UserError(f"{images}: the dataset's images are not there; {_how_to_get(config.path, description)}")
    pictures = _read_csv(metadata, images, description.labels)
    notices, faults = _compare_with_folder(pictures, images, description)
    if faults:
        raise UserError(first_faults(faults))
    present = [picture for picture in pictures if picture.path.exists()][: config.limit]
    if not present:
        how = _how_to_get(config.path, description) if description.build else "check both paths"
        raise UserError(f"{images}: holds no image that {metadata.name} names; {how}")
    return Dataset(description.name, tuple(present), description.labels, description.image_size, tuple(notices))


def _how_to_get(folder: Path, description: Description) -> str:
    if description.build:
        return f"make them with: harness dataset build {folder}"
    return "see the README of the folder, or give their place with dataset: {path: ..., images: ...}"


def _read_csv(path: Path, images: Path, labels: LabelSpace) -> list[Picture]:
    """The rows of the metadata file, all faults of it reported at once."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError:
        raise UserError(f"{path}: no such CSV of labels; give its place with dataset: {{metadata: ...}}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a CSV in UTF-8 ({error}); replace it") from None
    header = rows[0] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise UserError(f"{path}: has no column {', '.join(missing)}; the first row must name {','.join(COLUMNS)}")
    where = [header.index(name) for name in COLUMNS]
    seen: set[str] = set()
    faults: list[str] = []
    pictures: list[Picture] = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        try:
            name, true_label, target_class = row[where[0]], int(row[where[1]]), int(row[where[2]])
        except (IndexError, ValueError):
            faults.append(f"{path}:{number}: needs ImageId and two integers, has {','.join(row)[:60]!r}; mend the row")
            continue
        faults += [f"{path}:{number}: {fault}" for fault in _row_faults(name, true_label, target_class, labels, seen)]
        seen.add(name)
        pictures.append(Picture(name, images / f"{name}.png", true_label, target_class))
    if faults:
        raise UserError(first_faults(faults))
    return pictures


def _row_faults(name: str, true_label: int, target_class: int, labels: LabelSpace, seen: set[str]) -> Iterator[str]:
    if not name.isprintable() or name.startswith((".", "-")) or set(name) & set('/,"') or not name:
        yield f"ImageId {name!r} is no plain file name; rename the image"
    if name in seen:
        yield f"ImageId {name} is there twice; remove one row"
    for column, label in (("TrueLabel", true_label), ("TargetClass", target_class)):
        if not labels.has_class(label):
            space = f"{labels.first}..{labels.last}"
            yield f"{column} {label} is outside the label space {space}; {_why_outside(label, labels)}"


def _why_outside(label: int, labels: LabelSpace) -> str:
    """A label of 0 where they begin at 1 is what a list of the other common base has."""
    if label == 0 and labels.first == 1:
        return "the list looks 0-based: add 1 to TrueLabel and TargetClass of every row"
    return "check the label base"


def _compare_with_folder(
    pictures: list[Picture], images: Path, description: Description
) -> tuple[list[str], list[str]]:
    """Notices and faults: files without a row are a fault; rows without a file only where a count is promised."""
    files = {path.stem for path in images.glob("*.png")}
    rows = {picture.id for picture in pictures}
    faults = [f"{images / name}.png: has no row in the CSV; add one or remove the image" for name in files - rows]
    missing = sorted(rows - files)
    if description.images is not None and len(rows & files) != description.images:
        named = f", the first absent is {missing[0]}" if missing else ""
        faults.append(
            f"{images}: holds {len(rows & files)} of the {description.images} images that dataset.yaml promises"
            f"{named}; {_how_to_get(images.parent, description)}"
        )
    notices = (
        [f"{len(missing)} of {len(rows)} rows of the CSV have no image here and are not played"] if missing else []
    )
    return notices, sorted(faults)


def first_faults(faults: list[str]) -> list[str]:
    """As many lines as anybody reads, and how many more there are."""
    more = len(faults) - MAX_FAULTS
    return faults[:MAX_FAULTS] + ([f"... and {more} more faults"] if more > 0 else [])
