"""Downloads that go on where they were stopped, and that nobody reads before size and digest are right.

requests and rich are imported here and in progress.py only: the extra `fetch` of the kit.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from advkit.errors import KitError
from advkit.weights.files import cannot_write, digest_of, how_to_install, make_folder, one_line
from advkit.weights.registry import Source

try:
    import requests
    import urllib3
except ImportError as missing:
    raise KitError(f"requests, which fetches files, is not installed: {how_to_install('fetch')}") from missing

LARGEST = 4 << 30
"""Bytes that a download of unknown size may have."""

CHUNK = 1 << 16

ASK_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses of a server that may answer better in a moment."""

Report = Callable[[int, int | None], None]
"""Told how many bytes are there, and how many there will be, if that is known."""


class UnavailableError(KitError):
    """This source cannot be had, while another one may."""


class SilentError(UnavailableError):
    """The host does not answer, whatever it is asked for."""


class _Interrupted(Exception):
    """The server stopped in the middle or is busy; the same request may be answered in a moment."""


@dataclass(frozen=True)
class Patience:
    """Seconds until a connection or the next byte counts as none, and how often and after how many seconds to retry.

    The pause doubles each time; the count starts again whenever bytes arrived.
    """

    timeout: float = 30.0
    retries: int = 3
    pause: float = 1.0


@dataclass
class Download:
    """A file of the weights folder on its way: NAME.part, and NAME.part.json with what a server needs to go on."""

    folder: Path
    name: str
    source: Source
    patience: Patience = field(default_factory=Patience)

    @property
    def part(self) -> Path:
        """What has arrived."""
        return self.folder / f"{self.name}.part"

    def run(self, report: Report) -> Path:
        """The whole file, whose content nobody has looked at yet.

        Raises SilentError where the host does not answer, UnavailableError where it does not have the file, and
        KitError where the file has another size than the registry says, or where the disk is full.
        """
        failures = 0
        while True:
            before = self._have()
            try:
                if self._is_whole() or self._pull(report):
                    return self.part
                reason = "the connection ended early"
            except (_Interrupted, requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = _reason(error)
            except OSError as error:
                raise cannot_write(self.part, error) from error
            failures = 1 if self._have() > before else failures + 1
            if failures > self.patience.retries:
                raise SilentError(self.how_else(reason))
            time.sleep(self.patience.pause * 2 ** (failures - 1))

    def check(self, sha256: str | None) -> str:
        """The measured digest of the whole file.

        Removes the file where its size or its digest is not the expected one. Then raises UnavailableError where
        the registry has no digest of this source, so that another one may be meant by `sha256`, and else KitError.
        """
        size, measured = self._have(), digest_of(self.part)
        if self.source.size not in (None, size):
            self.remove()
            raise KitError(f"{self.name}: {self.source.url} gave {size} bytes instead of {self.source.size}; removed")
        expected = sha256 or self.source.sha256
        if expected not in (None, measured):
            self.remove()
            error = KitError if self.source.sha256 else UnavailableError
            raise error(f"{self.name}: {self.source.url} gave sha256 {measured} instead of {expected}; removed")
        return measured

    def remove(self) -> None:
        """Forget what has arrived."""
        os.truncate(self.part, 0)
        self._notes.unlink(missing_ok=True)

    def how_else(self, reason: str) -> str:
        """What to say when the file cannot be had from its host."""
        return (
            f"{self.name}: nothing from {urlsplit(self.source.url).netloc} ({reason}); download {self.source.url} "
            f"elsewhere, then: harness weights import {self.name} FILE"
            + ("" if self.source.sha256 else " --accept-unknown-checksum")
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Around everything else; at the end only a part that has bytes is kept.

        Raises KitError where another process fetches the same weights.
        """
        make_folder(self.folder)
        with self._own():
            try:
                yield
            finally:
                if self._have() == 0:
                    self._notes.unlink(missing_ok=True)
                    self.part.unlink()

    def _own(self) -> BinaryIO:
        """The part, locked: if whoever had it removed it between our opening and our locking it, then the next one."""
        while True:
            file = _open(self.part)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.close()
                raise KitError(f"{self.name}: is being fetched by another process; wait for it") from error
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()

    @property
    def _notes(self) -> Path:
        return self.folder / f"{self.name}.part.json"

    def _have(self) -> int:
        return self.part.stat().st_size

    def _known(self) -> Mapping[str, Any]:
        """The notes, if they are of this source."""
        try:
            notes = json.loads(self._notes.read_text())
        except (OSError, ValueError):
            return {}
        return notes if isinstance(notes, dict) and notes.get("url") == self.source.url else {}

    def _is_whole(self) -> bool:
        total = self._known().get("total")
        return total is not None and self._have() == total

    def _pull(self, report: Report) -> bool:
        """One request; whether the file is whole now."""
        known = self._known()
        have = self._have() if known else 0
        headers = {"Accept-Encoding": "identity", "User-Agent": "adversarial-harness"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if known.get("validator"):
                headers["If-Range"] = known["validator"]
        timeout = self.patience.timeout
        with requests.get(self.source.url, headers=headers, stream=True, timeout=timeout) as response:
            start, total = self._check(response, have, known.get("total"))
            self._notes.write_text(
                json.dumps({"url": self.source.url, "validator": _validator(response.headers), "total": total})
            )
            self._write(response, start, total, report)
        return total is None or self._have() == total

    def _check(self, response: Any, have: int, total_before: int | None) -> tuple[int, int | None]:
        """Where the answer starts, and how long the whole file is, if the server says so."""
        status = response.status_code
        if status in ASK_AGAIN:
            raise _Interrupted(f"it answers {status}")
        if self.source.url.startswith("https:") and not response.url.startswith("https:"):
            raise UnavailableError(self.how_else("it leads to a place without encryption"))
        if status == 416:
            self.remove()
            raise _Interrupted("what had arrived was not a part of its file")
        if status not in (200, 206):
            raise UnavailableError(self.how_else(f"it answers {status} {one_line(response.reason)}"))
        start, total = _extent(response)
        if start not in (0, have) or (start and total_before not in (None, total)):
            self.remove()
            raise _Interrupted("it sends another part than asked for")
        expected = self.source.size
        if total is not None and (total > LARGEST or expected not in (None, total)):
            self.remove()
            raise KitError(f"{self.name}: {self.source.url} has {total} bytes instead of {expected or 'at most 4 GiB'}")
        return start, total

    def _write(self, response: Any, start: int, total: int | None, report: Report) -> None:
        most = total or self.source.size or LARGEST
        with self.part.open("r+b") as file:
            file.truncate(start)
            file.seek(start)
            report(start, total)
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                if file.tell() + len(chunk) > most:
                    raise _Interrupted("it sends more than it said")
                file.write(chunk)
                report(file.tell(), total)


def _extent(response: Any) -> tuple[int, int | None]:
    """Where an answer starts and how long the whole file is."""
    length = response.headers.get("Content-Length", "")
    if response.status_code == 200:
        return 0, int(length) if length.isdigit() else None
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    start, _, _ = rest.partition("-")
    total = rest.rpartition("/")[2]
    if unit != "bytes" or not start.isdigit():
        raise _Interrupted("it does not say which part it sends")
    return int(start), int(total) if total.isdigit() else None


def _validator(headers: Mapping[str, str]) -> str | None:
    """What says that a file is still the same one: a strong ETag, or else the time of its last change."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def _reason(error: BaseException) -> str:
    """The innermost cause, in its own words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return one_line(getattr(error, "strerror", None) or error)


def _open(path: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    except OSError as error:
        raise cannot_write(path, error) from error
