"""What is known: content-addressed objects in a folder, and an SQLite index of outcomes and predictions.

An object is there whole or not at all, and the index names it only after that; one transaction records one
outcome. So the harness may be killed at any moment: what was recorded stays, what was not is done again. Objects are
not forced to the disk one by one: one that a power cut spoilt is found by its digest, removed and made again.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.atomic import write_atomic
from harness.digest import digest_bytes
from harness.errors import StoreDamagedError, UserError
from harness.index import Index
from harness.trees import copy_tree, remove_tree, share_file
from harness.weights import Weights, rewritten

ABOUT = """This folder is a store of the adversarial-harness: images and answers that were computed once.
It can be deleted whole; everything in it is then computed again. `harness gc` removes what no run needs.
"""

ROOM_BYTES = 1 << 20
"""With less than this free, what a call left out may be the full disk's fault and not the submission's."""


class Store:
    """One process writes at a time (`writing`); any number may read. Objects may be added from any thread."""

    def __init__(self, path: Path) -> None:
        """Opens the store at `path`, making it where there is none."""
        self.path = path
        self._sound: set[str] = set()
        self.objects = path / "objects"
        self.work = path / "work"
        self.code = path / "code"
        try:
            for folder in (self.objects, self.work, self.code):
                folder.mkdir(parents=True, exist_ok=True)
            if not (path / "README.txt").exists():
                write_atomic(path / "README.txt", ABOUT)
        except OSError as error:
            raise UserError(f"{path}: the store cannot be written ({error.strerror}); choose another output") from None
        self.index = Index(path / "index.sqlite")

    @property
    def identity(self) -> str:
        """A random name that this store has for life; what it starts is labelled with it."""
        path = self.path / "identity"
        if not path.exists():
            write_atomic(path, secrets.token_hex(8))
        return path.read_text()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the store for one process; the lock is gone with the process, however it ends."""
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{self.path}: another harness is at work on this store; wait for it to end") from None
            self._clear_work()
            self.remove_unfinished()
            try:
                yield
            finally:  # again: what a killed harness left alive may have gone on writing until it was swept
                self._clear_work()

    def _clear_work(self) -> None:
        for leftover in (*self.work.iterdir(), *self.code.glob(".*")):
            remove_tree(leftover)

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """A fresh folder on the store's own file system, so that objects can be linked into it.

        Raises: OSError (ENOSPC) where the disk is full at the end of the block, however that ended.
        """
        folder = self.work / secrets.token_hex(8)
        folder.mkdir(mode=0o711)
        try:
            with self._room():
                yield folder
        finally:
            remove_tree(folder)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """What is done on a full disk does not count. `shutil.Error` also says nothing of why a copy failed."""
        try:
            yield
        except OSError:
            self._check_room()
            raise
        self._check_room()

    def _check_room(self) -> None:
        disk = os.statvfs(self.path)
        full = disk.f_blocks and disk.f_bavail * disk.f_frsize < ROOM_BYTES
        if full or (disk.f_files and not disk.f_favail):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    # --- objects

    def object_path(self, digest: str) -> Path:
        return self.objects / digest[:2] / digest[2:]

    def add_object(self, data: bytes) -> str:
        """Stores `data` under its digest, which is returned; safe from several threads at once.

        One that is there already but cut off, as a power cut leaves it, is replaced.
        """
        digest = digest_bytes(data)
        path = self.object_path(digest)
        with suppress(FileNotFoundError):
            if path.stat().st_size == len(data):
                return digest
        temporary = path.parent / f".{secrets.token_hex(8)}"
        try:
            handle = _create(temporary)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return digest

    def read_object(self, digest: str) -> bytes:
        """The bytes of an object. Raises: StoreDamagedError where they are gone or have another digest."""
        try:
            data = self.object_path(digest).read_bytes()
        except FileNotFoundError:
            raise StoreDamagedError(f"object {digest} is missing") from None
        if digest_bytes(data) != digest:
            self.object_path(digest).unlink(missing_ok=True)
            raise StoreDamagedError(f"object {digest} is damaged")
        self._sound.add(digest)
        return data

    def link_object(self, digest: str, target: Path) -> None:
        """Makes `target` a hard link to an object. Raises: StoreDamagedError where it is gone or damaged."""
        self._put(digest, target, os.link)

    def copy_object(self, digest: str, target: Path) -> None:
        """Makes `target` a copy of an object. Raises: StoreDamagedError where it is gone or damaged."""
        self._put(digest, target, shutil.copyfile)

    def _put(self, digest: str, target: Path, put: Callable[[Path, Path], object]) -> None:
        """An object is looked at once in the life of a process: a damaged one must not be blamed on who reads it."""
        if digest not in self._sound:
            self.read_object(digest)
        try:
            put(self.object_path(digest), target)
        except FileNotFoundError:
            raise StoreDamagedError(f"object {digest} is missing") from None

    def object_digests(self) -> set[str]:
        """Every object that is there."""
        return {
            folder.name + entry.name
            for folder in os.scandir(self.objects)
            for entry in os.scandir(folder)
            if not entry.name.startswith(".")
        }

    def remove_damaged(self) -> int:
        """Reads every object and removes those that are not what their names say; how many is returned."""
        removed = 0
        for digest in self.object_digests():
            try:
                self.read_object(digest)
            except StoreDamagedError:
                removed += 1
        return removed

    def remove_objects(self, digests: Iterable[str]) -> int:
        """Removes objects; the number of bytes freed is returned."""
        freed = 0
        for digest in digests:
            path = self.object_path(digest)
            freed += path.stat().st_size
            path.unlink()
        return freed

    def remove_unfinished(self) -> int:
        """Removes what was being written when the harness was killed; the number of bytes freed is returned."""
        freed = 0
        for path in self.objects.glob("*/.*"):
            freed += path.stat().st_size
            path.unlink()
        return freed

    # --- submissions' code

    def keep_code(self, digest: str, folder: Path, weights: Iterable[Weights] = ()) -> Path:
        """The store's own copy of a submission, so that nobody can change it during a run.

        Weights from elsewhere become files of the copy, as links where that is safe. A link shows what is written
        into the file that it was made from, so they are looked at each time, and a spoilt copy is made anew.
        Raises: UserError where weights changed just now.
        """
        kept = self.code / digest
        foreign = [one for one in weights if one.path != folder / one.place]
        placed = [one.within(kept) for one in weights]
        if kept.exists() and rewritten(placed):
            remove_tree(kept)
        if not kept.exists():
            self._copy_code(folder, foreign, kept)
            if changed := rewritten(placed):
                raise UserError(f"the weights {', '.join(changed)} changed while they were read; run again")
        return kept

    def _copy_code(self, folder: Path, foreign: Iterable[Weights], kept: Path) -> None:
        temporary = self.code / f".{secrets.token_hex(8)}"
        try:
            with self._room():
                copy_tree(folder, temporary)
            _make_readable(temporary)
            for one in foreign:
                target = temporary / one.place
                target.parent.mkdir(exist_ok=True)
                target.parent.chmod(0o755)
                share_file(one.path, target)
            with suppress(FileExistsError):
                os.rename(temporary, kept)
        finally:
            remove_tree(temporary)

    # --- rounds

    def add_round(self, output: Path) -> None:
        """Notes that a round was played into `output`; as a relative path, so that both may be moved together."""
        self.index.add_round(os.path.relpath(output.resolve(), self.path.resolve()))

    def forget_round(self, output: Path) -> None:
        """Takes back `add_round`."""
        self.index.forget_round(os.path.relpath(output.resolve(), self.path.resolve()))

    def rounds(self) -> list[Path]:
        """The output folders of all rounds that were played from this store, without links in their paths."""
        return [(self.path / output).resolve() for output in self.index.rounds()]

    def close(self) -> None:
        self.index.close()


def _make_readable(folder: Path) -> None:
    """Everybody may read and nobody write, whatever the participant's own modes were."""
    for path in folder.rglob("*"):
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if path.is_dir() else 0o555 if executable else 0o444)


def _create(path: Path) -> int:
    """Opens a new read-only file; the folder of a first digest is made only when it is missing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o444)
    except FileNotFoundError:
        path.parent.mkdir(exist_ok=True)
        handle = os.open(path, flags, 0o444)
    os.fchmod(handle, 0o444)  # whatever the umask: a container's user has to read it
    return handle
