"""The SQLite index of a store: which calls were made, what they produced, what every defense answered.

It is a write-ahead log with `synchronous = NORMAL`: a kill loses nothing that was recorded; a power cut may lose the
last outcomes, each of them whole, and their calls are made again.
"""

import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.records import Fault, ImageAudit, Outcome, Role, Verdict, WorkUnit

SCHEMA_VERSION = 1

UNREADABLE = "{}: the index cannot be read ({}); move the store away and run again"
UNWRITABLE = "{}: the index cannot be written ({}); make room or mend its rights, and run again"

FROM_DISK = (sqlite3.DatabaseError, ValueError, TypeError)
"""What damaged pages raise. Text that is no UTF-8 and words that are none of ours are ValueErrors."""

OUR_MISTAKES = (sqlite3.IntegrityError, sqlite3.ProgrammingError)

TABLES = """
CREATE TABLE sources (digest TEXT PRIMARY KEY, canonical TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE calls (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, role TEXT NOT NULL, player TEXT NOT NULL, label TEXT NOT NULL,
    verdict TEXT NOT NULL, exit_code INTEGER, seconds REAL NOT NULL, peak_memory INTEGER NOT NULL,
    images INTEGER NOT NULL, faults TEXT NOT NULL, unknown_names INTEGER NOT NULL, log TEXT NOT NULL,
    finished TEXT NOT NULL
);
CREATE UNIQUE INDEX calls_key ON calls (key);
CREATE TABLE audits (
    key TEXT NOT NULL, position INTEGER NOT NULL, image TEXT NOT NULL, digest TEXT NOT NULL, fault TEXT,
    raw_linf INTEGER NOT NULL, clipped INTEGER NOT NULL, linf INTEGER NOT NULL, l2 REAL NOT NULL,
    mean_abs REAL NOT NULL, PRIMARY KEY (key, position)
) WITHOUT ROWID;
CREATE TABLE predictions (
    player TEXT NOT NULL, digest TEXT NOT NULL, label INTEGER, fault TEXT, PRIMARY KEY (player, digest)
) WITHOUT ROWID;
CREATE TABLE built (context TEXT PRIMARY KEY, image TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rounds (output TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE attempts (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, player TEXT NOT NULL, label TEXT NOT NULL, error TEXT NOT NULL,
    finished TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class CallRecord:
    """One line of the ledger: a call that was made, what it cost and how it ended. seconds: wall; memory: bytes."""

    key: str
    role: Role
    player: str
    label: str
    verdict: Verdict
    exit_code: int | None
    seconds: float
    peak_memory: int
    images: int
    faults: dict[str, int]
    unknown_names: int
    log: str
    finished: str


class Index:
    """One transaction records one outcome. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Opens the database at `path`, making it where there is none. Raises: UserError if it is none of ours."""
        self._path = path
        self._lock = threading.Lock()
        with self._unwritable():
            if not path.exists():
                _make(path)
            self._database = sqlite3.connect(_address(path), uri=True, timeout=30, check_same_thread=False)
            try:
                self._check()
            except BaseException:
                self._database.close()
                raise

    def _check(self) -> None:
        self._database.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            raise UserError(UNREADABLE.format(self._path, "it is empty"))
        if version != SCHEMA_VERSION:
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

    def canonical_of(self, sources: Iterable[str]) -> dict[str, str]:
        """Digest of a dataset's file -> digest of its canonical image, for those that are known."""
        return self._lookup("SELECT digest, canonical FROM sources WHERE digest IN", list(sources))

    def add_sources(self, pairs: Iterable[tuple[str, str]]) -> None:
        with self._writing():
            self._database.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?)", pairs)

    def known_calls(self, keys: Iterable[str]) -> set[str]:
        """Which of these work units have an outcome."""
        return set(self._lookup("SELECT key, 1 FROM calls WHERE key IN", list(keys)))

    def predictions(self, player: str) -> dict[str, int | None]:
        """Digest of a canonical image -> label, for everything that this defense was ever asked."""
        with self._reading():
            rows = self._database.execute("SELECT digest, label FROM predictions WHERE player = ?", (player,))
            return dict(rows.fetchall())

    def audits(self, key: str) -> list[ImageAudit]:
        """What an attack's call produced, in the order of its batch."""
        with self._reading():
            rows = self._database.execute(
                "SELECT image, digest, fault, raw_linf, clipped, linf, l2, mean_abs FROM audits"
                " WHERE key = ? ORDER BY position",
                (key,),
            )
            return [ImageAudit(row[0], row[1], Fault(row[2]) if row[2] else None, *row[3:]) for row in rows]

    def record(self, unit: WorkUnit, label: str, outcome: Outcome, finished: str) -> None:
        """Writes one outcome and all that it produced, in one transaction."""
        faults = json.dumps({fault.value: count for fault, count in sorted(outcome.faults.items())})
        size = len(outcome.images) + len(outcome.predictions)
        call = (
            unit.key, unit.role, unit.player, label, outcome.verdict, outcome.exit_code, outcome.seconds,
            outcome.peak_memory, size, faults, outcome.unknown_names, outcome.log, finished,
        )  # fmt: skip
        audits = [(unit.key, position, *asdict(audit).values()) for position, audit in enumerate(outcome.images)]
        answers = [(unit.player, item.digest, item.label, item.fault) for item in outcome.predictions]
        with self._writing():
            self._database.execute(f"INSERT OR REPLACE INTO calls VALUES (NULL{', ?' * 13})", call)
            self._database.executemany(f"INSERT OR REPLACE INTO audits VALUES (?{', ?' * 9})", audits)
            self._database.executemany("INSERT OR REPLACE INTO predictions VALUES (?, ?, ?, ?)", answers)

    def record_attempt(self, key: str, player: str, label: str, error: str, finished: str) -> None:
        """Notes that our own side failed at a call."""
        with self._writing():
            self._database.execute(
                "INSERT INTO attempts VALUES (NULL, ?, ?, ?, ?, ?)", (key, player, label, error, finished)
            )

    def attempts(self, players: Iterable[str]) -> list[tuple[str, str, str]]:
        """(label, error, time) of every failure of our own side at calls of these players, oldest first."""
        wanted = set(players)
        with self._reading():
            rows = self._database.execute("SELECT label, error, finished, player FROM attempts ORDER BY number")
            return [row[:3] for row in rows.fetchall() if row[3] in wanted]

    def calls(self, players: Iterable[str]) -> list[CallRecord]:
        """The ledger of these players, oldest first."""
        wanted = set(players)
        columns = ", ".join(CallRecord.__dataclass_fields__)
        with self._reading():
            rows = self._database.execute(f"SELECT {columns} FROM calls ORDER BY number")
            return [_call_record(row) for row in rows if row[2] in wanted]

    def built_images(self) -> dict[str, str]:
        """Digest of a build's context -> the image that it became."""
        with self._reading():
            return dict(self._database.execute("SELECT context, image FROM built").fetchall())

    def add_built_images(self, built: Mapping[str, str]) -> None:
        with self._writing():
            self._database.executemany("INSERT OR REPLACE INTO built VALUES (?, ?)", built.items())

    def add_round(self, output: str) -> None:
        """Notes where a round was played, so that `gc` keeps what it needs."""
        with self._writing():
            self._database.execute("INSERT OR REPLACE INTO rounds VALUES (?)", (output,))

    def rounds(self) -> list[str]:
        """What was given to `add_round`, sorted."""
        with self._reading():
            return [row[0] for row in self._database.execute("SELECT output FROM rounds ORDER BY output")]

    def forget_round(self, output: str) -> None:
        with self._writing():
            self._database.execute("DELETE FROM rounds WHERE output = ?", (output,))

    def keep_only(self, units: Iterable[str], players: Iterable[str]) -> None:
        """Forgets the attack calls that are not among `units`, and what defenses not among `players` answered."""
        with self._writing():
            self._database.execute("CREATE TEMP TABLE kept (name TEXT PRIMARY KEY)")
            self._database.executemany(
                "INSERT OR IGNORE INTO kept VALUES (?)", [(name,) for name in (*units, *players)]
            )
            for table, column in (("audits", "key"), ("predictions", "player"), ("calls", "player")):
                self._database.execute(f"DELETE FROM {table} WHERE {column} NOT IN (SELECT name FROM kept)")
            unused = "role != 'defense' AND key NOT IN (SELECT name FROM kept)"
            self._database.execute(f"DELETE FROM calls WHERE {unused}")
            self._database.execute("DROP TABLE kept")

    def forget_sources(self, canonical: Iterable[str]) -> None:
        """Forgets which files of datasets these canonical images came from."""
        with self._writing():
            rows = [(digest,) for digest in canonical]
            self._database.executemany("DELETE FROM sources WHERE canonical = ?", rows)

    def _lookup(self, query: str, values: list[str]) -> dict[str, str]:
        """Rows of a two-column query for `values`, asked for in pieces that SQLite accepts."""
        found: dict[str, str] = {}
        for start in range(0, len(values), 500):
            piece = values[start : start + 500]
            with self._reading():
                rows = self._database.execute(f"{query} ({', '.join('?' * len(piece))})", piece)
                found.update(rows.fetchall())
        return found

    def close(self) -> None:
        self._database.close()


def _address(path: Path) -> str:
    """Whoever reads a write-ahead log makes files beside it; where that cannot be and there is no log, nobody writes,
    and the file alone is all there is."""
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return path.absolute().as_uri() + ("?immutable=1" if alone else "")


def _make(path: Path) -> None:
    """An index without a row, beside `path` and then under its name: whole or not at all, whoever else makes one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with closing(sqlite3.connect(temporary)) as database:
            database.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            database.execute("PRAGMA journal_mode = WAL")  # last, so that all there is stands in the file itself
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        for left in path.parent.glob(f"{temporary.name}*"):
            left.unlink()


def _call_record(row: tuple[Any, ...]) -> CallRecord:
    one = CallRecord(*row)
    return replace(one, role=Role(one.role), verdict=Verdict(one.verdict), faults=json.loads(str(one.faults)))
