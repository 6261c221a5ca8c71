"""A defense's answers: rows `IMAGE.png,LABEL`, read as a stranger's bytes."""

import codecs
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.dataset import LabelSpace
from harness.records import Fault, Prediction

ROW_BYTES = 512
"""Room for one row; a result file may be as large as its number of images times this, and 64 KiB."""

INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(frozen=True)
class Answers:
    """predictions: one for each image asked about, in that order. unknown_rows: rows about nothing asked."""

    predictions: tuple[Prediction, ...]
    unknown_rows: int


def max_csv_bytes(images: int) -> int:
    return images * ROW_BYTES + (64 << 10)


def parse_answers(data: bytes, images: Mapping[str, str], labels: LabelSpace) -> Answers:
    """Reads the rows about `images` (file name -> digest of the canonical image).

    A row is a name, a comma and an integer; the name may lack its `.png` and more columns may follow, as the
    2017 toolkit allowed. What cannot be read as such costs that image its answer and nothing else; two rows
    about one image cancel each other. One row at a time is held beside `data`, however many there are.
    """
    rows: dict[str, tuple[int | None, Fault | None]] = {}
    unknown = 0
    for line in io.BytesIO(data.removeprefix(codecs.BOM_UTF8)):
        if not line.strip():
            continue
        first, _, rest = line.partition(b",")
        name = _text(first)
        name = name if name in images else f"{name}.png"
        if name not in images:
            unknown += 1
        elif name in rows:
            rows[name] = (None, Fault.DUPLICATE)
        else:
            rows[name] = _label(_text(rest.partition(b",")[0]), labels)
    answers = tuple(Prediction(digest, *rows.get(name, (None, Fault.MISSING))) for name, digest in images.items())
    return Answers(answers, unknown)


def _text(column: bytes) -> str:
    """A column without spaces and quotes; empty where it is longer than a whole row has to be."""
    return column.decode("utf-8", errors="replace").strip().strip('"') if len(column) <= ROW_BYTES else ""


def _label(text: str, labels: LabelSpace) -> tuple[int | None, Fault | None]:
    if not INTEGER.fullmatch(text):
        return None, Fault.NOT_AN_INTEGER
    label = int(text)
    return (label, None) if labels.accepts(label) else (None, Fault.OUTSIDE_LABELS)
