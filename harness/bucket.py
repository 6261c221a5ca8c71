"""Objects in an object store (S3, Google's, ...), by an fsspec URL. Credentials are those of its own environment.

An object is the key `AA/REST` below the URL, AA and REST being its digest. Such a store puts a key there whole or not
at all; what it keeps is the server's care, and every byte is looked at again by who fetches it.
"""

import errno
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from harness.digest import digest_bytes, digest_file
from harness.errors import NO_SPACE, InfrastructureError, UserError

TRIES = 5
BACK_OFF_SECONDS = 0.5
"""Before the second try; twice as long before each further one: 7.5 seconds in all."""

STREAMS = 16
"""Requests of one kind that are made side by side."""

FOLDER, REST = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{62}")

EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs"}
INSTEAD = "use s3://, gs:// or a folder"

S3_CLIENT = {
    "retries": {"total_max_attempts": 1},  # tries are counted here, and the client's own would multiply them
    "max_pool_connections": 2 * STREAMS,
    "connect_timeout": 10,
    "read_timeout": 30,
}
OPTIONS: dict[str, dict[str, Any]] = {"s3": {"config_kwargs": S3_CLIENT}}

PATIENT = ("gs", "gcs")
"""Protocols whose client tries again by itself, for half a minute, and cannot be told not to."""

LOGGERS = ("fsspec", "s3fs", "gcsfs")
"""They print every failed try where nobody listens to them."""

Made = TypeVar("Made")


class Bucket:
    """The part of an object store below one URL. Safe from several threads and machines at once.

    Raises, in every method: InfrastructureError when the server did not do it in some tries.
    """

    def __init__(self, url: str) -> None:
        """Nothing is asked of the server yet. Raises: UserError: no such URL, or its package is missing."""
        self.place = url.rstrip("/")
        self._files, self._root = _open(self.place)
        self._tries = 1 if self.place.startswith(PATIENT) else TRIES

    def add(self, data: bytes) -> str:
        digest = digest_bytes(data)
        self._write(self._key(digest), data)
        return digest

    def add_file(self, path: Path) -> str:
        """The same for a file of any size, which is not sent again where it is there already."""
        digest = digest_file(path)
        if not self.has(digest):
            self._try(lambda: self._files.put_file(str(path), self._key(digest)))
        if digest_file(path) != digest:
            raise InfrastructureError(f"{path}: changed while it was read")
        return digest

    def fetch(self, digest: str, target: Path) -> None:
        """Writes what is under `digest` to `target`; it is not looked at. Raises: FileNotFoundError."""
        self._try(lambda: self._files.get_file(self._key(digest), str(target)))

    def has(self, digest: str) -> bool:
        try:
            self._try(lambda: self._files.info(self._key(digest)))
        except FileNotFoundError:
            return False
        return True

    def digests(self) -> Iterator[str]:
        """Some folders at a time: there may be millions."""
        folders = [name for name in self._list(self._root) if FOLDER.fullmatch(name)]
        with ThreadPoolExecutor(STREAMS) as pool:
            for start in range(0, len(folders), STREAMS):
                some = folders[start : start + STREAMS]
                for folder, names in zip(some, pool.map(self._sizes, some), strict=True):
                    yield from (folder + name for name in names)

    def remove(self, digests: Iterable[str]) -> int:
        """What is not there is passed over; the number of bytes freed is returned."""
        freed = 0
        for folder, group in groupby(sorted(digests), key=lambda digest: digest[:2]):
            there = self._sizes(folder)
            gone = [digest for digest in group if digest[2:] in there]
            if gone:
                self._try(partial(self._files.rm, [self._key(digest) for digest in gone]))
            freed += sum(there[digest[2:]] for digest in gone)
        return freed

    def remove_unfinished(self) -> int:
        """There is nothing half written: see the head of this file."""
        return 0

    def read_note(self, name: str) -> bytes | None:
        """A small file beside the objects, None where there is none."""
        try:
            data: bytes = self._try(lambda: self._files.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None
        return data

    def add_note(self, name: str, data: bytes) -> None:
        """Makes one where there is none: of several who do it at once, one. A few servers know no such request; there,
        only who reads the note again knows whose it is."""
        key = f"{self._root}/{name}"
        try:
            self._try(lambda: self._create(key, data))
        except FileNotFoundError as error:
            raise InfrastructureError(f"{self.place}: cannot be written ({error})") from error

    def _create(self, key: str, data: bytes) -> None:
        try:
            self._files.pipe_file(key, data, mode="create")
        except OSError as error:  # servers say in many ways that there is one
            if self._files.exists(key):
                return
            if error.errno != errno.ENOSYS:
                raise
            self._files.pipe_file(key, data)

    def _key(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest[2:]}"

    def _write(self, key: str, data: bytes) -> None:
        try:
            self._try(lambda: self._files.pipe_file(key, data))
        except FileNotFoundError as error:
            raise InfrastructureError(f"{self.place}: cannot be written ({error})") from error

    def _list(self, path: str) -> dict[str, int]:
        """Name -> size of what is directly below `path`."""
        try:
            entries = self._try(lambda: self._files.ls(path, detail=True))
        except FileNotFoundError:
            return {}
        return {entry["name"].rstrip("/").rsplit("/", 1)[-1]: entry.get("size") or 0 for entry in entries}

    def _sizes(self, folder: str) -> dict[str, int]:
        return {name: size for name, size in self._list(f"{self._root}/{folder}").items() if REST.fullmatch(name)}

    def _try(self, act: Callable[[], Made]) -> Made:
        """Raises: FileNotFoundError, OSError where this machine's disk is full, InfrastructureError."""
        failure: Exception | None = None
        for number in range(self._tries):
            time.sleep(BACK_OFF_SECONDS * 2 ** (number - 1) if number else 0)
            try:
                return act()
            except FileNotFoundError:
                raise
            except Exception as error:  # every file system of fsspec has exceptions of its own
                if isinstance(error, OSError) and error.errno in NO_SPACE:
                    raise
                failure = error
        reason = " ".join(str(failure).split()) or type(failure).__name__
        raise InfrastructureError(f"{self.place}: does not answer as it should ({reason})") from failure


def split_url(url: str) -> SplitResult:
    """Raises: UserError where it can be no place; the URL itself is not repeated there, as it may hold a password."""
    try:
        parts = urlsplit(url)
        more = parts.username is not None or parts.password is not None or parts.query or parts.fragment
    except ValueError:
        raise UserError("objects: this is no URL; write PROTOCOL://BUCKET/PATH, without brackets") from None
    if more or "::" in url or not (parts.netloc or parts.scheme == "file"):
        raise UserError(
            "objects: a URL is PROTOCOL://BUCKET/PATH and nothing else; keys and settings come from the environment"
        )
    return parts


def _open(url: str) -> tuple[Any, str]:
    """The file system and the path in it."""
    parts = split_url(url)
    options = OPTIONS.get(parts.scheme, {})
    for name in LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        files, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
    except ImportError as error:
        extra = EXTRAS.get(parts.scheme)
        remedy = f"install adversarial-harness[{extra}]" if extra else INSTEAD
        raise UserError(f"{url}: a package for this protocol is missing ({error}); {remedy}") from None
    except ValueError as error:
        raise UserError(f"{url}: {error}; {INSTEAD}") from None
    return files, str(root).rstrip("/")
