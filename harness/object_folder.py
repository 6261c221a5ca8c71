"""Objects in a folder: bytes that are found by their digest.

An object is there whole or not at all. Objects are not forced to the disk one by one: one that a power cut spoilt is
found by its digest, removed and made again.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.atomic import write_atomic
from harness.bucket import FOLDER, REST
from harness.digest import digest_bytes, digest_file
from harness.errors import InfrastructureError, ObjectMissingError, StoreDamagedError
from harness.trees import share_file

MOST_SOUND = 1 << 19
"""How many objects that were found sound are remembered: 80 MB; then all of them are looked at again."""


def missing(digest: str) -> ObjectMissingError:
    return ObjectMissingError(f"object {digest} is missing")


def damaged(digest: str) -> StoreDamagedError:
    return StoreDamagedError(f"object {digest} is damaged")


class FolderObjects:
    """Objects in a folder, AA/REST, AA and REST being the digest."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError where the folder is missing and cannot be made."""
        self.path = path
        self.place = str(path)
        self._sound: set[str] = set()
        path.mkdir(parents=True, exist_ok=True)

    def path_of(self, digest: str) -> Path:
        return self.path / digest[:2] / digest[2:]

    def add(self, data: bytes) -> str:
        """One that is there already but cut off, as a power cut leaves it, is replaced."""
        digest = digest_bytes(data)
        if self._size(digest) != len(data):
            with self.making(digest) as temporary:
                temporary.write_bytes(data)
        return digest

    def add_file(self, path: Path) -> str:
        digest = digest_file(path)
        if self._size(digest) != path.stat().st_size:
            with self.making(digest) as temporary:
                shutil.copyfile(path, temporary)
                if digest_file(temporary) != digest:
                    raise InfrastructureError(f"{path}: changed while it was read")
        return digest

    @contextmanager
    def making(self, digest: str) -> Iterator[Path]:
        """A path for the bytes of an object, which become the object when the block ends without an exception."""
        target = self.path_of(digest)
        temporary = target.parent / f".{secrets.token_hex(8)}"
        target.parent.mkdir(exist_ok=True)
        try:
            yield temporary
            temporary.chmod(0o444)  # whatever the umask: a container's user has to read it
            os.replace(temporary, target)
        finally:  # also when all went well: where both are links to one file, both stay
            temporary.unlink(missing_ok=True)

    def read(self, digest: str) -> bytes:
        try:
            data = self.path_of(digest).read_bytes()
        except FileNotFoundError:
            raise missing(digest) from None
        if digest_bytes(data) != digest:
            self.path_of(digest).unlink(missing_ok=True)
            raise damaged(digest)
        self.found_sound(digest)
        return data

    def found_sound(self, digest: str) -> None:
        """It need not be looked at again in the life of this process."""
        if len(self._sound) >= MOST_SOUND:
            self._sound.clear()
        self._sound.add(digest)

    def link(self, digest: str, target: Path) -> None:
        self._put(digest, target, os.link)

    def copy(self, digest: str, target: Path) -> None:
        self._put(digest, target, shutil.copyfile)

    def fetch(self, digest: str, target: Path) -> None:
        share_file(self.path_of(digest), target)

    def _put(self, digest: str, target: Path, put: Callable[[Path, Path], object]) -> None:
        """An object is looked at once in the life of a process: a damaged one must not be blamed on who reads it."""
        self._look(digest)
        try:
            put(self.path_of(digest), target)
        except FileNotFoundError:
            raise missing(digest) from None

    def _look(self, digest: str) -> None:
        """Raises: StoreDamagedError. In pieces: weights are objects, too."""
        if digest in self._sound:
            return
        try:
            found = digest_file(self.path_of(digest))
        except FileNotFoundError:
            raise missing(digest) from None
        if found != digest:
            self.path_of(digest).unlink(missing_ok=True)
            raise damaged(digest)
        self.found_sound(digest)

    def bring(self, digests: Iterable[str]) -> None:
        """They are."""

    def has(self, digest: str) -> bool:
        return self.path_of(digest).is_file()

    def digests(self) -> Iterator[str]:
        """What strangers put there has no such name."""
        for folder in sorted(path for path in self.path.iterdir() if FOLDER.fullmatch(path.name)):
            with suppress(FileNotFoundError), os.scandir(folder) as entries:
                yield from (folder.name + entry.name for entry in entries if REST.fullmatch(entry.name))

    def remove(self, digests: Iterable[str]) -> int:
        return sum(_unlink(self.path_of(digest)) for digest in digests)

    def clear(self, folder: str) -> int:
        """Removes all objects whose digests begin with these two characters; how many bytes they had is returned."""
        return sum(_unlink(path) for path in self.path.glob(f"{folder}/[!.]*"))

    def remove_damaged(self) -> int:
        self._sound.clear()
        return sum(self._is_damaged(digest) for digest in self.digests())

    def _is_damaged(self, digest: str) -> bool:
        try:
            self._look(digest)
        except StoreDamagedError:
            return True
        return False

    def remove_unfinished(self) -> int:
        return sum(_unlink(path) for path in self.path.glob("*/.*"))

    def read_note(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def add_note(self, name: str, data: bytes) -> None:
        whole = self.path / f".{name}.{secrets.token_hex(6)}"
        write_atomic(whole, data)
        try:
            with suppress(FileExistsError):
                _name_once(whole, self.path / name)
        finally:
            whole.unlink()

    def _size(self, digest: str) -> int | None:
        try:
            return self.path_of(digest).stat().st_size
        except FileNotFoundError:
            return None


def _name_once(whole: Path, target: Path) -> None:
    """Gives a file a second name. Raises: FileExistsError where that is taken."""
    try:
        os.link(whole, target)
    except FileExistsError:
        raise
    except OSError:  # no links on this file system
        with target.open("xb") as file:
            file.write(whole.read_bytes())


def _unlink(path: Path) -> int:
    """Removes a file that may be gone already; the bytes that it had."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    return size
