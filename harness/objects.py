"""Objects: bytes that are found by their digest, at a place that one machine has or that several reach."""

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar
from urllib.parse import unquote

from harness.bucket import STREAMS, Bucket, split_url
from harness.digest import digest_file
from harness.errors import NO_SPACE, EngineUnavailableError, InfrastructureError, StoreDamagedError, UserError
from harness.object_folder import FolderObjects, damaged, missing

FOLDERS = 256
"""Of a place of objects: one for each beginning of a digest."""

OWNER = "owner.txt"
"""The note that says whose store's objects they are."""

NOTHING = "0" * 64
"""The digest of no object."""

SOME = 1024
"""Objects that are looked at together."""

SPARE_BYTES = 2 << 30
"""A cache gives way when its disk has less than this free, until there is twice that."""

Item = TypeVar("Item")
Made = TypeVar("Made")

_suspects: set[str] = set()
"""Places behind a network at which this process met a damaged object before."""


class Place(Protocol):
    """Where objects lie. Safe from several threads, processes and machines at once.

    Raises, in every method: InfrastructureError or OSError where the place does not answer or is full.
    """

    place: str
    """The folder or the URL."""

    def add(self, data: bytes) -> str:
        """Stores `data` under its digest, which is returned."""

    def add_file(self, path: Path) -> str:
        """The same for a file, read in pieces."""

    def has(self, digest: str) -> bool:
        """Whether it is there, whatever a cache has; it is not looked at."""

    def digests(self) -> Iterator[str]:
        """Every object that is there, in any order: there may be millions."""

    def remove(self, digests: Iterable[str]) -> int:
        """Removes objects, where they are there; the number of bytes freed is returned."""

    def remove_unfinished(self) -> int:
        """Removes what was being written when the harness was killed; the number of bytes freed is returned."""

    def read_note(self, name: str) -> bytes | None:
        """A small file beside the objects, None where there is none."""

    def add_note(self, name: str, data: bytes) -> None:
        """Makes one where there is none; of several who do it at once, one succeeds. Read it to see who."""


class Origin(Place, Protocol):
    """A place that is reached through a cache."""

    def fetch(self, digest: str, target: Path) -> None:
        """Puts what is under `digest` at `target`, unseen. Raises: FileNotFoundError."""


class Objects(Place, Protocol):
    """A place as a store and a machine of a cluster use it: what comes from it has the digest that it should have."""

    def read(self, digest: str) -> bytes:
        """The bytes of an object. Raises: StoreDamagedError where they are gone or have another digest."""

    def link(self, digest: str, target: Path) -> None:
        """Makes `target` a hard link to a read-only file of these bytes. Raises: StoreDamagedError."""

    def copy(self, digest: str, target: Path) -> None:
        """Makes `target` a file of these bytes, which may be changed. Raises: StoreDamagedError."""

    def bring(self, digests: Iterable[str]) -> None:
        """Has these on this machine's own disk, several at a time. Raises: StoreDamagedError, after a look at all."""

    def remove_damaged(self) -> int:
        """After one was found: removes all others that are not what their names say; how many is returned.

        Over a network this begins when a process asks for the second time: before, that one may be the only one.
        """


class RemoteObjects:
    """Objects at a place that several machines reach, and a folder of this machine where those lie that it used.

    What is in the cache may be deleted at any time, and gives way by itself when its disk gets full.
    """

    def __init__(self, origin: Origin, cache: FolderObjects, spare: int = SPARE_BYTES) -> None:
        self.place = origin.place
        self._origin, self._cache, self._spare = origin, cache, spare
        self._turn = cycle(f"{number:02x}" for number in range(FOLDERS))
        self._lock = threading.Lock()

    def add(self, data: bytes) -> str:
        """It is sent always: that it is in the cache does not say that it still lies at the place."""
        self._origin.add(data)
        self._make_room()
        return self._cache.add(data)

    def add_file(self, path: Path) -> str:
        return self._origin.add_file(path)

    def read(self, digest: str) -> bytes:
        return self._take(digest, lambda: self._cache.read(digest), Path.read_bytes)

    def link(self, digest: str, target: Path) -> None:
        self._take(digest, lambda: self._cache.link(digest, target), lambda path: os.link(path, target))

    def copy(self, digest: str, target: Path) -> None:
        self._take(digest, lambda: self._cache.copy(digest, target), lambda path: shutil.copyfile(path, target))

    def bring(self, digests: Iterable[str]) -> None:
        for fault in list(side_by_side(self._bring, (digest for digest in digests if not self._cache.has(digest)))):
            if fault:
                raise fault

    def _bring(self, digest: str) -> StoreDamagedError | None:
        try:
            with self._brought(digest):
                return None
        except StoreDamagedError as error:
            return error

    def _take(self, digest: str, take: Callable[[], Made], use: Callable[[Path], Made]) -> Made:
        """What the cache has not, or has spoilt, is fetched, and used before it is the cache's, which may give way."""
        try:
            return take()
        except StoreDamagedError:
            with self._brought(digest) as path:
                return use(path)

    @contextmanager
    def _brought(self, digest: str) -> Iterator[Path]:
        """A file of these bytes, which is the cache's after the block. Raises: as `_obtain`."""
        self._make_room()
        with self._cache.making(digest) as temporary:
            self._obtain(digest, temporary)
            temporary.chmod(0o444)
            yield temporary
        self._cache.found_sound(digest)

    def _obtain(self, digest: str, target: Path) -> None:
        """Raises: StoreDamagedError where it is missing, or twice came with another digest: then it is removed."""
        if not (self._fetch(digest, target) or self._fetch(digest, target)):
            self._origin.remove([digest])
            raise damaged(digest)

    def _fetch(self, digest: str, target: Path) -> bool:
        """Whether it came with its own digest."""
        target.unlink(missing_ok=True)
        try:
            self._origin.fetch(digest, target)
        except FileNotFoundError:
            raise missing(digest) from None
        return digest_file(target) == digest

    def _make_room(self) -> None:
        """As far as the cache can: the disk may be full of other things, or what it lets go of be linked elsewhere."""
        if _free(self._cache.path) >= self._spare:
            return
        with self._lock:
            for folder in islice(self._turn, FOLDERS):
                before = _free(self._cache.path)
                if before >= 2 * self._spare:
                    break
                if self._cache.clear(folder) and _free(self._cache.path) <= before:
                    break

    def has(self, digest: str) -> bool:
        return self._origin.has(digest)

    def digests(self) -> Iterator[str]:
        return self._origin.digests()

    def remove(self, digests: Iterable[str]) -> int:
        unwanted = list(digests)
        self._cache.remove(unwanted)
        return self._origin.remove(unwanted)

    def remove_damaged(self) -> int:
        self._cache.remove_damaged()
        if isinstance(self._origin, FolderObjects):
            return self._origin.remove_damaged()
        if self.place not in _suspects:
            _suspects.add(self.place)
            return 0
        with TemporaryDirectory(dir=self._cache.path.parent, prefix=".look-") as folder:
            return sum(side_by_side(partial(self._is_damaged, Path(folder)), self._origin.digests()))

    def _is_damaged(self, folder: Path, digest: str) -> bool:
        try:
            self._obtain(digest, folder / digest)
        except StoreDamagedError:
            return True
        finally:
            (folder / digest).unlink(missing_ok=True)
        return False

    def remove_unfinished(self) -> int:
        return self._cache.remove_unfinished() + self._origin.remove_unfinished()

    def read_note(self, name: str) -> bytes | None:
        return self._origin.read_note(name)

    def add_note(self, name: str, data: bytes) -> None:
        self._origin.add_note(name, data)


def open_objects(place: str, cache: Path) -> Objects:
    """The objects at `place`: a folder, or the URL of an object store (`s3://BUCKET/PATH`); `file://` is a folder.

    cache: a folder of this machine, for what is used here. Where it is the place itself, there is no other.
    Raises: UserError for a URL that cannot be one; OSError where a folder cannot be made.
    """
    folder = folder_of(place)
    here = FolderObjects(cache)
    if folder is None:
        return RemoteObjects(Bucket(place), here)
    return here if folder.resolve() == cache.resolve() else RemoteObjects(FolderObjects(folder), here)


def folder_of(place: str) -> Path | None:
    """The folder that a place of objects is; None where it is another URL. Raises: UserError for what is neither."""
    if "://" not in place:
        return Path(place)
    parts = split_url(place)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise UserError(f"{place}: a folder of another machine; write file:///FOLDER")
    return Path(unquote(parts.path))


def claim(place: Place, owner: str, *, used: bool = False) -> None:
    """used: whether the store has objects there, so that a place without its note cannot be the one.

    Raises: UserError where the place does not answer, is not that one, or is another store's, whose clean-up would
    empty it.
    """
    try:
        found = place.read_note(OWNER)
        if found is None and not used:
            place.add_note(OWNER, owner.encode())
            found = place.read_note(OWNER)
    except (InfrastructureError, OSError) as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise UserError(f"{place.place}: cannot be written ({error.strerror}); make room and run again") from None
        raise UserError(f"{place.place}: no place for objects ({error}); mend its address, rights or server") from None
    if found is None:
        raise UserError(
            f"{place.place}: has no {OWNER}, though this store has its objects there; mount or restore it, "
            "or begin anew with another output"
        )
    if found != owner.encode():
        raise UserError(f"{place.place}: holds the objects of another store ({OWNER} names it); choose another place")


def check_answers(place: Place) -> None:
    """Raises: EngineUnavailableError where the place cannot even say that it has not what nobody made."""
    try:
        place.has(NOTHING)
    except (InfrastructureError, OSError) as error:
        raise EngineUnavailableError(f"{place.place}: the objects do not answer ({error})") from None


def side_by_side(act: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """`act` of each in this order, several at a time; of millions only some are in memory."""
    rest = iter(items)
    with ThreadPoolExecutor(STREAMS) as pool:
        while some := list(islice(rest, SOME)):
            yield from pool.map(act, some)


def _free(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize
