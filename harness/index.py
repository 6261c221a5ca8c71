"""The SQLite index of a store: which calls were made, what they produced, what every defense answered."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.database import PIECE, Database, pieces
from harness.records import ImageAudit, Outcome, Role, Verdict, WorkUnit
from harness.rows import (
    Audits,
    Labels,
    Numbers,
    fault_of,
    pack_answers,
    pack_audits,
    unpack_answers,
    unpack_audits,
    unpack_numbers,
)

SCHEMA_VERSION = 2

CALL_BITS = 40
"""The place of a call's answers is its player's number and, in so many bits, its own: a player's lie together."""

TABLES = """
CREATE TABLE sources (digest TEXT PRIMARY KEY, canonical TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (number INTEGER PRIMARY KEY, value BLOB NOT NULL UNIQUE);
CREATE TABLE names (number INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);
CREATE TABLE players (number INTEGER PRIMARY KEY, value BLOB NOT NULL UNIQUE);
CREATE TABLE calls (
    number INTEGER PRIMARY KEY, key BLOB NOT NULL, role TEXT NOT NULL, player INTEGER NOT NULL, label TEXT NOT NULL,
    verdict TEXT NOT NULL, exit_code INTEGER, seconds REAL NOT NULL, peak_memory INTEGER NOT NULL,
    images INTEGER NOT NULL, faults TEXT NOT NULL, unknown_names INTEGER NOT NULL, log TEXT NOT NULL,
    finished TEXT NOT NULL
);
CREATE UNIQUE INDEX calls_key ON calls (key);
CREATE TABLE audits (call INTEGER PRIMARY KEY, rows BLOB NOT NULL);
CREATE TABLE answers (place INTEGER PRIMARY KEY, rows BLOB NOT NULL);
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


LEDGER = ", ".join(CallRecord.__dataclass_fields__)


class Index(Database):
    """One transaction records one outcome. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Opens the index at `path`, making it where there is none. Raises: UserError if it is none of ours."""
        super().__init__(path, TABLES, SCHEMA_VERSION)

    def canonical_of(self, sources: Iterable[str]) -> dict[str, str]:
        """Digest of a dataset's file -> digest of its canonical image, for those that are known."""
        with self._reading():
            return self._find("SELECT digest, canonical FROM sources WHERE digest", sources)

    def add_sources(self, pairs: Iterable[tuple[str, str]]) -> None:
        with self._writing():
            self._database.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?)", pairs)

    # --- images by number

    def add_images(self, digests: Iterable[str]) -> Numbers:
        """The numbers of these images, which have them for the life of the store."""
        with self._writing():
            return np.array(self._intern("images", map(bytes.fromhex, digests)), dtype=np.uint32)

    def numbers(self, digests: Iterable[str]) -> Numbers:
        """The same where nothing may be written: 0 for an image that has none."""
        values = [bytes.fromhex(digest) for digest in digests]
        with self._reading():
            found = self._find("SELECT value, number FROM images WHERE value", values)
        return np.array([found.get(value, 0) for value in values], dtype=np.uint32)

    def numbers_from(self, first: int) -> dict[bytes, int]:
        """The numbers of all images whose digests begin with this byte."""
        with self._reading():
            between = bytes([first]), bytes([first]) + b"\xff" * 31
            return dict(self._database.execute("SELECT value, number FROM images WHERE value BETWEEN ? AND ?", between))

    def digests(self, numbers: Numbers) -> list[str]:
        """The digests of images, in this order. Raises: UserError where the index has lost one."""
        wanted: list[int] = numbers.tolist()
        with self._reading():
            found = self._find("SELECT number, value FROM images WHERE number", wanted)
            return [found[number].hex() for number in wanted]

    @property
    def last_image(self) -> int:
        """The highest number that an image has."""
        return self._last("images")

    # --- what is known

    def known_calls(self, keys: Iterable[str]) -> set[str]:
        """Which of these work units have an outcome."""
        with self._reading():
            return {key.hex() for key in self._find("SELECT key, 1 FROM calls WHERE key", map(bytes.fromhex, keys))}

    def answers(self, player: str) -> tuple[Numbers, Labels]:
        """Everything that this defense was ever asked: numbers of images, and labels (`NO_ANSWER` where it gave none
        that counts). Of an image that stands there twice the last one holds.
        """
        with self._reading():
            return unpack_answers(self._answers(player))

    def answered(self, player: str) -> Numbers:
        """The numbers alone: which images this defense was ever asked about."""
        with self._reading():
            return unpack_numbers(self._answers(player))

    def _answers(self, player: str) -> Iterator[bytes]:
        number = self._player(player)
        first, last = number << CALL_BITS, ((number + 1) << CALL_BITS) - 1
        query = "SELECT rows FROM answers WHERE place BETWEEN ? AND ? ORDER BY place"
        return (rows for (rows,) in self._database.execute(query, (first, last)))

    def made(self, keys: Iterable[str]) -> Iterator[tuple[str, Audits]]:
        """What attacks' calls produced: of those of these work units that have an outcome, in any order."""
        query = "SELECT key, rows FROM calls JOIN audits ON call = number WHERE key"
        for piece in pieces(map(bytes.fromhex, keys)):
            with self._reading():
                found = [(key.hex(), unpack_audits(rows)) for key, rows in self._find(query, piece).items()]
            yield from found

    def audits(self, key: str) -> list[ImageAudit]:
        """What an attack's call produced, in the order of its batch."""
        rows = next((rows for _, rows in self.made([key])), None)
        if rows is None:
            return []
        digests = self.digests(rows["image"])
        with self._reading():
            names = self._find("SELECT number, value FROM names WHERE number", rows["name"].tolist())
            return [
                ImageAudit(names[row[0]], digest, fault_of(row[2]), *row[3:])
                for row, digest in zip(rows.tolist(), digests, strict=True)
            ]

    # --- what is recorded

    def record(self, unit: WorkUnit, label: str, outcome: Outcome, finished: str) -> Numbers:
        """Writes one outcome and all that it produced, in one transaction.

        The numbers of the images that it made are returned, in their order.
        """
        faults = json.dumps({fault.value: count for fault, count in sorted(outcome.faults.items())})
        size = len(outcome.images) + len(outcome.predictions)
        key = bytes.fromhex(unit.key)
        made, answers = outcome.images, outcome.predictions
        with self._writing():
            self._forget(key)
            (player,) = self._intern("players", [bytes.fromhex(unit.player)])
            images = self._intern("images", [bytes.fromhex(one.digest) for one in (made or answers)])
            row = (
                key, unit.role, player, label, outcome.verdict, outcome.exit_code, outcome.seconds,
                outcome.peak_memory, size, faults, outcome.unknown_names, outcome.log, finished,
            )  # fmt: skip
            call = self._database.execute(f"INSERT INTO calls VALUES (NULL{', ?' * 13})", row).lastrowid or 0
            if made:
                names = self._intern("names", [one.image for one in made])
                self._database.execute("INSERT INTO audits VALUES (?, ?)", (call, pack_audits(names, images, made)))
            elif answers:
                place = player << CALL_BITS | call
                self._database.execute("INSERT INTO answers VALUES (?, ?)", (place, pack_answers(images, answers)))
        return np.array(images if made else [], dtype=np.uint32)

    def _forget(self, key: bytes) -> None:
        """A call that is made again takes the place of the one before."""
        for call, player in self._database.execute("SELECT number, player FROM calls WHERE key = ?", (key,)).fetchall():
            self._database.execute("DELETE FROM calls WHERE number = ?", (call,))
            self._database.execute("DELETE FROM audits WHERE call = ?", (call,))
            self._database.execute("DELETE FROM answers WHERE place = ?", (player << CALL_BITS | call,))

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

    def calls(self, players: Iterable[str], most: int | None = None) -> Iterator[CallRecord]:
        """The ledger of these players, oldest first; there may be millions. most: only of the last so many calls."""
        names = {number: player for player in players if (number := self._number_of(player))}
        query = f"SELECT number, {LEDGER} FROM calls WHERE number > ? ORDER BY number LIMIT {PIECE}"
        last = max(0, self._last("calls") - most) if most is not None else 0
        while True:
            with self._reading():
                rows = self._database.execute(query, (last,)).fetchall()
                found = [_call_record(row[1:], names[row[3]]) for row in rows if row[3] in names]
            yield from found
            if len(rows) < PIECE:
                return
            last = rows[-1][0]

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
        """Forgets the attack calls that are not among `units`, and what defenses not among `players` answered.

        Images keep their numbers, which stand in answers.
        """
        with self._writing():
            self._database.execute("CREATE TEMP TABLE kept (value BLOB PRIMARY KEY)")
            names = [(bytes.fromhex(name),) for name in (*units, *players)]
            self._database.executemany("INSERT OR IGNORE INTO kept VALUES (?)", names)
            strangers = "player IN (SELECT number FROM players WHERE value NOT IN (SELECT value FROM kept))"
            unused = "role != 'defense' AND key NOT IN (SELECT value FROM kept)"
            self._database.execute(f"DELETE FROM calls WHERE {strangers} OR ({unused})")
            self._database.execute("DELETE FROM audits WHERE call NOT IN (SELECT number FROM calls)")
            call = f"place & {(1 << CALL_BITS) - 1}"
            self._database.execute(f"DELETE FROM answers WHERE {call} NOT IN (SELECT number FROM calls)")
            self._database.execute("DROP TABLE kept")

    def forget_sources(self, canonical: Iterable[str]) -> None:
        """Forgets which files of datasets these canonical images came from."""
        with self._writing():
            rows = [(digest,) for digest in canonical]
            self._database.executemany("DELETE FROM sources WHERE canonical = ?", rows)

    def _last(self, table: str) -> int:
        with self._reading():
            (number,) = self._database.execute(f"SELECT COALESCE(MAX(number), 0) FROM {table}").fetchone()
            return int(number)

    def _number_of(self, player: str) -> int:
        with self._reading():
            return self._player(player)

    def _player(self, player: str) -> int:
        """0 for one that never made a call."""
        value = bytes.fromhex(player)
        return int(self._find("SELECT value, number FROM players WHERE value", [value]).get(value, 0))


def _call_record(row: tuple[Any, ...], player: str) -> CallRecord:
    key, role, _, label, verdict, exit_code, seconds, peak_memory, images, faults, *rest = row
    counted = {} if faults == "{}" else json.loads(faults)
    return CallRecord(
        key.hex(), Role(role), player, label, Verdict(verdict), exit_code, seconds, peak_memory, images, counted, *rest
    )  # fmt: skip
