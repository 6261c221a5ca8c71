"""An SQLite file of ours: whole from its first moment, one transaction for what belongs together, and one line for
whatever is wrong with the disk below it.

It is a write-ahead log with `synchronous = NORMAL`: a kill loses nothing that was recorded; a power cut may lose the
last transactions, each of them whole.
"""

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from harness.errors import UserError

UNREADABLE = "{}: the index cannot be read ({}); move the store away and run again"
UNWRITABLE = "{}: the index cannot be written ({}); make room or mend its rights, and run again"

FROM_DISK = (sqlite3.DatabaseError, ValueError, TypeError, LookupError)
"""What damaged pages raise. Text that is no UTF-8 and words that are none of ours are ValueErrors."""

OUR_MISTAKES = (sqlite3.IntegrityError, sqlite3.ProgrammingError)

CACHE_KIB = 64 << 10
"""What SQLite keeps of the file in memory: digests come in no order, so their B-tree should stay there."""

PIECE = 500
"""Values that are asked for at once: SQLite takes no more than 999 everywhere."""


class Database:
    """Safe to use from several threads."""

    def __init__(self, path: Path, tables: str, version: int) -> None:
        """Opens the file at `path`; where there is none, one is made of `tables`, SQL.

        Raises: UserError where it is none of this version.
        """
        self._path = path
        self._lock = threading.Lock()
        with self._unwritable():
            if not path.exists():
                _make(path, tables, version)
            self._database = sqlite3.connect(_address(path), uri=True, timeout=30, check_same_thread=False)
            try:
                self._check(version)
            except BaseException:
                self._database.close()
                raise

    def _check(self, wanted: int) -> None:
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            raise UserError(UNREADABLE.format(self._path, "it is empty"))
        if version != wanted:
            raise UserError(f"{self._path}: was made by another version of the harness; choose another output")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raises: UserError when what is on the disk is no database of ours any more."""
        try:
            with self._lock:
                yield
        except OUR_MISTAKES:
            raise
        except FROM_DISK as error:
            raise UserError(UNREADABLE.format(self._path, error)) from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction. Raises: UserError when the disk does not take it, or is damaged."""
        with self._unwritable(), self._lock, self._database:
            yield

    @contextmanager
    def _unwritable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UserError(UNWRITABLE.format(self._path, error)) from None
        except OUR_MISTAKES:
            raise
        except FROM_DISK as error:
            raise UserError(UNREADABLE.format(self._path, error)) from None

    def _intern(self, table: str, values: Iterable[Any]) -> list[int]:
        """The numbers of these values, which get one where they have none."""
        values = list(values)
        query = f"SELECT value, number FROM {table} WHERE value"
        found = self._find(query, values)
        if new := [value for value in dict.fromkeys(values) if value not in found]:
            self._database.executemany(f"INSERT INTO {table} (value) VALUES (?)", [(value,) for value in new])
            found |= self._find(query, new)
        return [found[value] for value in values]

    def _find(self, query: str, values: Iterable[Any]) -> dict[Any, Any]:
        """Rows of a two-column query for `values`, asked for in pieces that SQLite accepts."""
        found: dict[Any, Any] = {}
        for piece in pieces(values):
            found.update(self._database.execute(f"{query} IN ({', '.join('?' * len(piece))})", piece))
        return found

    def close(self) -> None:
        self._database.close()


def _address(path: Path) -> str:
    """Whoever reads a write-ahead log makes files beside it; where that cannot be and there is no log, nobody writes,
    and the file alone is all there is."""
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return path.absolute().as_uri() + ("?immutable=1" if alone else "")


def _make(path: Path, tables: str, version: int) -> None:
    """A database without a row, beside `path` and then under its name: whole or not at all, whoever else makes one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with closing(sqlite3.connect(temporary)) as database:
            database.executescript(f"BEGIN; {tables} PRAGMA user_version = {version}; COMMIT;")
            database.execute("PRAGMA journal_mode = WAL")  # last, so that all there is stands in the file itself
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        for left in path.parent.glob(f"{temporary.name}*"):
            left.unlink()


def pieces(values: Iterable[Any]) -> Iterator[list[Any]]:
    """As many values as may be asked for at once."""
    rest = iter(values)
    while piece := list(islice(rest, PIECE)):
        yield piece
