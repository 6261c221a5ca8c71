"""The list that the competition published: where it is, what it must be, and its rows."""

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from photo import Host, Row, UnusableError

NAME = "dev_dataset.csv"
PUBLISHED = "published"
"""What stands for LIST_URL on the command line."""

LIST_URL = (
    "https://raw.githubusercontent.com/cleverhans-lab/cleverhans/v3.1.0/"
    "examples/nips17_adversarial_competition/dataset/dev_dataset.csv"
)
LIST_SHA256 = "b85ae40a1d5d0d95b77d30b8cabec140020a00cbcc9aebc6921b77a270fb743d"
"""The file is the same in the releases 2.0.0, 3.0.1, 3.1.0 and 4.0.0: 1000 rows, 271092 bytes."""

COLUMNS = ("ImageId", "URL", "x1", "y1", "x2", "y2", "TrueLabel", "TargetClass")


def read_list(wanted: str, host: Host) -> tuple[bytes, list[Row]]:
    """The list that a file, a URL or PUBLISHED names: its bytes and its rows.

    Raises: SystemExit with one line where it cannot be had or is none.
    """
    source = LIST_URL if wanted == PUBLISHED else wanted
    data = _read(source, host)
    return data, list(_rows(data, source))


def _read(source: str, host: Host) -> bytes:
    try:
        if "://" not in source:
            return Path(source).read_bytes()
        print(f"downloading the list {source}", flush=True)
        data = host.file(source)
    except OSError as error:
        raise SystemExit(f"error: {source}: the list cannot be read ({error.strerror}); check --list") from None
    except UnusableError as error:
        raise SystemExit(
            f"error: {source}: the list cannot be downloaded ({error.detail}); give a copy of it with --list"
        ) from None
    if source == LIST_URL and hashlib.sha256(data).hexdigest() != LIST_SHA256:
        raise SystemExit(f"error: {source}: is not the published list (its SHA-256 differs); give one with --list")
    return data


def _rows(data: bytes, source: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig", errors="replace"), newline=""))
    lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if lacking:
        raise SystemExit(f"error: {source}: has no column {', '.join(lacking)}; is it the competition's list?")
    for line in reader:
        try:
            x1, y1, x2, y2 = (float(line[name]) for name in ("x1", "y1", "x2", "y2"))
        except (TypeError, ValueError):
            x1, y1, x2, y2 = 1.0, 1.0, 0.0, 0.0
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 and re.fullmatch(r"\w[\w-]*", line["ImageId"])):
            raise SystemExit(f"error: {source}:{reader.line_num}: needs an ImageId and a box in 0..1; mend the row")
        yield Row(line["ImageId"], line["URL"], (x1, y1, x2, y2))
