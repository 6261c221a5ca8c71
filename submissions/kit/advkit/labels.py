"""Label spaces: which numbers stand for the classes in the contract's files.

A *label* is such a number. A *class* is the index, from 0, of an output of a network.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from advkit.errors import KitError


@dataclass(frozen=True)
class LabelSpace:
    """Labels first..first+count-1. `name` is that of the space in metadata.json and dataset.yaml."""

    name: str
    first: int
    count: int

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def class_of(self, label: int) -> int:
        """Network output 0..count-1 of a label first..last."""
        return label - self.first

    def label_of(self, class_index: int) -> int:
        """Label first..last of a network output 0..count-1."""
        return class_index + self.first

    def __contains__(self, label: int) -> bool:
        return self.first <= label <= self.last

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


IMAGENET = LabelSpace("imagenet-1001", 1, 1000)
"""The classes of ImageNet in their usual order; 0 is background, which is never a true or a target label."""

DIGITS = LabelSpace("digits", 0, 10)
CIFAR10 = LabelSpace("cifar10", 0, 10)


def read_labels(path: Path, space: LabelSpace = IMAGENET) -> dict[str, int]:
    """Image name -> label of the space, from lines `IMAGE.png,LABEL` without header.

    Raises KitError, with the line number, where a line is anything else.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise KitError(f"{path}: cannot be read: {error.strerror}") from error
    return dict(_parse(f"{path}:{number}", row, space) for number, row in enumerate(rows, start=1) if row)


def write_labels(path: Path, labels: Mapping[str, int]) -> None:
    """Write lines `IMAGE.png,LABEL` without header, sorted by name."""
    _write_rows(path, sorted(labels.items()))


def _write_rows(path: Path, rows: Iterable[tuple[str, int]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _parse(where: str, row: list[str], space: LabelSpace) -> tuple[str, int]:
    try:
        name, label = row[0], int(row[1])
    except (IndexError, ValueError):
        raise KitError(f"{where}: expected IMAGE.png,LABEL, found {','.join(row)!r}") from None
    if label not in space:
        raise KitError(f"{where}: label {label} of {name} is outside {space}")
    return name, label
