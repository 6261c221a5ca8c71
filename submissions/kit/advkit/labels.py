"""The competition's label space: 1..1000 are the ImageNet classes in their usual order, 0 is background.

A *label* is such a number. A *class* is the index 0..999 of an output of a network, that is label - 1.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from advkit.errors import KitError

FIRST_LABEL = 1
LAST_LABEL = 1000


def class_of(label: int) -> int:
    """Network output 0..999 of a label 1..1000."""
    return label - FIRST_LABEL


def label_of(class_index: int) -> int:
    """Label 1..1000 of a network output 0..999."""
    return class_index + FIRST_LABEL


def read_labels(path: Path) -> dict[str, int]:
    """Image name -> label 1..1000, from lines `IMAGE.png,LABEL` without header.

    Raises KitError, with the line number, where a line is anything else.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise KitError(f"{path}: cannot be read: {error.strerror}") from error
    return dict(_parse(path, number, row) for number, row in enumerate(rows, start=1) if row)


def write_labels(path: Path, labels: Mapping[str, int]) -> None:
    """Write lines `IMAGE.png,LABEL` without header, sorted by name."""
    _write_rows(path, sorted(labels.items()))


def _write_rows(path: Path, rows: Iterable[tuple[str, int]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _parse(path: Path, number: int, row: list[str]) -> tuple[str, int]:
    try:
        name, label = row[0], int(row[1])
    except (IndexError, ValueError):
        raise KitError(f"{path}:{number}: expected IMAGE.png,LABEL, found {','.join(row)!r}") from None
    if not FIRST_LABEL <= label <= LAST_LABEL:
        raise KitError(f"{path}:{number}: label {label} of {name} is outside {FIRST_LABEL}..{LAST_LABEL}")
    return name, label
