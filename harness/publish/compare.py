"""Where what was published differs from what its evidence gives: one line for each place, with both values."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import printable

MOST = 20
"""Lines about one file of numbers."""

MOST_OF_PAGE = 3
"""Lines about one page: it shows numbers that other files have, and all that stands around them."""

PAGES = (".html", ".css", ".js")

SHOWN = 120
"""Characters of one value."""

BINARY = (".png", ".svg", ".jpg", ".webp")

GREATER = 4
"""A published file that is so many times larger than the recomputed one, and a megabyte, is not read."""


def differences(published: Path, recomputed: Path) -> list[str]:
    """What differs between two files; empty where nothing does. The file's name is left to the caller."""
    if _same_bytes(published, recomputed):
        return []
    size, due = published.stat().st_size, recomputed.stat().st_size
    if size > GREATER * due + (1 << 20):
        return [f"has {size} bytes, recomputed {due}"]
    most = MOST_OF_PAGE if published.suffix in PAGES else MOST
    found = list(islice(_differences(published, recomputed), most + 1))
    return found[:most] + (["... and more"] if len(found) > most else [])


def _same_bytes(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()


def _differences(published: Path, recomputed: Path) -> Iterator[str]:
    if published.suffix == ".parquet":
        yield from _table_differences(published, recomputed)
    elif published.suffix in BINARY:
        yield "is another picture than is drawn from the evidence"
    elif published.suffix == ".json":
        yield from _json_differences(published, recomputed)
    else:
        yield from _line_differences(published, recomputed)


def _json_differences(published: Path, recomputed: Path) -> Iterator[str]:
    try:
        found = json.loads(published.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        yield "is not valid JSON"
        return
    places = value_differences(found, json.loads(recomputed.read_text(encoding="utf-8")))
    first = next(places, None)
    if first is None:
        yield "says the same in other bytes: keys twice, or written by another program"
        return
    yield first
    yield from places


def value_differences(found: Any, due: Any) -> Iterator[str]:
    """The places where two JSON values differ: `defenses[0].score: 12, recomputed 10`. However deep they are."""
    pending = [("", found, due)]
    while pending:
        place, one, other = pending.pop()
        if type(one) is type(other) and isinstance(one, dict | list):
            pending += reversed(list(_members(place, one, other)))
        elif type(one) is not type(other) or one != other:
            yield f"{place or 'the whole'}: {_value(one)}, recomputed {_value(other)}"


MISSING = object()


def _members(place: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, list):
        for number, (left, right) in enumerate(zip_longest(one, other, fillvalue=MISSING)):
            yield f"{place}[{number}]", left, right
        return
    for key in dict.fromkeys((*one, *other)):
        yield f"{place}.{key}".lstrip("."), one.get(key, MISSING), other.get(key, MISSING)


def _value(value: Any) -> str:
    if value is MISSING:
        return "nothing"
    if isinstance(value, dict | list):
        return f"{'keys' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return printable(json.dumps(value, ensure_ascii=False), SHOWN)


def _line_differences(published: Path, recomputed: Path) -> Iterator[str]:
    try:
        found = published.read_bytes().decode("utf-8").split("\n")
    except UnicodeDecodeError:
        yield "is no text in UTF-8"
        return
    due = recomputed.read_bytes().decode("utf-8").split("\n")
    for number, (one, other) in enumerate(zip_longest(found, due), start=1):
        if one != other:
            yield f"line {number}: {_text(one, other)}, recomputed {_text(other, one)}"


def _text(line: str | None, other: str | None) -> str:
    """A line from a little before the place where it begins to differ."""
    if line is None:
        return "nothing"
    same = next((place for place, (a, b) in enumerate(zip(line, other or "", strict=False)) if a != b), 0)
    start = max(0, same - SHOWN // 3) if len(line) > SHOWN else 0
    return printable(f"{'...' if start else ''}{line[start : start + SHOWN]}", SHOWN + 10)


def _table_differences(published: Path, recomputed: Path) -> Iterator[str]:
    """Cells of Parquet tables; the bytes may be those of another version of pyarrow."""
    try:
        found, due = pq.read_table(published), pq.read_table(recomputed)
    except (OSError, pa.ArrowException) as error:
        yield f"cannot be read as Parquet ({error})"
        return
    if found.schema.names != due.schema.names or found.schema.types != due.schema.types:
        yield f"has the columns {', '.join(found.schema.names)}, recomputed {', '.join(due.schema.names)}"
    elif found.num_rows != due.num_rows:
        yield f"has {found.num_rows} rows, recomputed {due.num_rows}"
    else:
        for name in due.schema.names:
            yield from _column_differences(name, found[name], due[name])


def _column_differences(name: str, found: pa.ChunkedArray, due: pa.ChunkedArray) -> Iterable[str]:
    if found.equals(due):
        return
    for row, (one, other) in enumerate(zip(found.to_pylist(), due.to_pylist(), strict=True)):
        if one != other:
            yield f"row {row}, {name}: {_value(one)}, recomputed {_value(other)}"
