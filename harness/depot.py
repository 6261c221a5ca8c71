"""What a machine needs to play calls: objects, submissions' code, and room to work in."""

import errno
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from harness.atomic import write_atomic
from harness.errors import ObjectMissingError, StoreDamagedError, UserError
from harness.objects import Objects, side_by_side
from harness.trees import copy_tree, is_locked, list_tree, remove_tree, share_file
from harness.weights import Weights, rewritten

ROOM_BYTES = 1 << 20
"""With less than this free, what a call left out may be the full disk's fault and not the submission's."""

DIGEST = re.compile(r"[0-9a-f]{64}")

PLAIN, EXECUTABLE = 0o444, 0o555
"""The modes of kept files: everybody may read and nobody write, whatever the participant's own modes were."""


class CodeLostError(ObjectMissingError):
    """Kept code is no longer whole on this machine; `keep_code` and `take_code` make it anew."""


class Depot:
    """A folder of one machine. Several processes of it may share one, and any number of threads.

    objects: should keep its files below `path`, so that they can be linked into a work folder.
    """

    def __init__(self, path: Path, objects: Objects) -> None:
        """Raises: OSError where the folder cannot be made."""
        self.path, self.objects = path, objects
        self.work, self.code, self.listings = path / "work", path / "code", path / "listings"
        for folder in (self.work, self.code, self.listings):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """A fresh folder on the objects' own file system, so that they can be linked into it.

        Raises: OSError (ENOSPC) where the disk is full at the end of the block, however that ended; or where the
        folder is gone: what is not found in it then is nobody's fault but ours.
        """
        with self._folder_in(self.work, secrets.token_hex(8)) as folder, self._room():
            folder.chmod(0o711)
            yield folder
            if not folder.is_dir():
                raise FileNotFoundError(errno.ENOENT, "the folder of a call was removed during the call", str(folder))

    @contextmanager
    def _folder_in(self, parent: Path, name: str) -> Iterator[Path]:
        """A fresh folder that is gone after the block. It is locked meanwhile: a lock is gone with its process."""
        folder = parent / name
        with self._sweep_lock(fcntl.LOCK_SH):
            folder.mkdir(mode=0o700)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # some network file systems lock no folders, and `sweep` then leaves them alone
                fcntl.flock(handle, fcntl.LOCK_SH)
        try:
            yield folder
        finally:
            os.close(handle)
            remove_tree(folder)

    @contextmanager
    def _sweep_lock(self, kind: int) -> Iterator[None]:
        """Shared while folders are made and locked, alone while those without a lock are looked for."""
        with (self.path / "sweep.lock").open("w") as file:
            fcntl.flock(file, kind)
            yield

    def sweep(self) -> int:
        """Removes what processes left here that are gone; how many things is returned."""
        with self._sweep_lock(fcntl.LOCK_EX):
            left = [path for path in (*self.work.iterdir(), *self.code.glob(".*")) if not is_locked(path)]
            for path in left:
                remove_tree(path)
        return len(left)

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

    # --- submissions' code

    def keep_code(self, digest: str, folder: Path, weights: Iterable[Weights] = ()) -> Path:
        """An own copy of a submission, so that nobody can change it during a run.

        Weights from elsewhere become files of the copy, as links where that is safe. A link shows what is written
        into the file that it was made from, so they are looked at each time, and a spoilt copy is made anew, as is
        one of which a part is gone. Raises: UserError where weights changed just now.
        """
        kept = self.code / digest
        foreign = [one for one in weights if one.path != folder / one.place]
        placed = [one.within(kept) for one in weights]
        with self._code_lock():
            if self._state(kept) is None or rewritten(placed):
                self._copy_code(folder, foreign, kept)
                if changed := rewritten(placed):
                    raise UserError(f"the weights {', '.join(changed)} changed while they were read; run again")
        return kept

    @contextmanager
    def unharmed(self, kept: Path) -> Iterator[None]:
        """Kept code is whole before and after the block, and the same: what is gone is not the submission's fault.

        Raises: CodeLostError. A machine's cleaner may take files from its disk, one by one.
        """
        before = self._state(kept)
        if before is None:
            raise CodeLostError(f"{kept}: a part of this copy of a submission is gone")
        yield
        if self._state(kept) != before:
            raise CodeLostError(f"{kept}: a part of this copy of a submission is gone since the call began")

    def _state(self, kept: Path) -> tuple[int, int] | None:
        """What tells kept code from another copy; None where its names, sizes and modes are not those that it had."""
        try:
            if json.loads((self.listings / kept.name).read_bytes()) != list_tree(kept):
                return None
            status = kept.stat()
        except (OSError, ValueError):
            return None
        return status.st_ino, status.st_ctime_ns

    @contextmanager
    def _code_lock(self) -> Iterator[None]:
        """One at a time makes code on this machine, and who waited finds it made."""
        with (self.path / "code.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _copy_code(self, folder: Path, foreign: Iterable[Weights], kept: Path) -> None:
        with self._new_code(kept) as tree:
            copy_tree(folder, tree)
            _make_readable(tree)
            for one in foreign:
                target = tree / one.place
                target.parent.mkdir(exist_ok=True)
                target.parent.chmod(0o755)
                share_file(one.path, target)

    @contextmanager
    def _new_code(self, kept: Path) -> Iterator[Path]:
        """A path for a tree that becomes `kept` as a whole after the block, whatever is left there of another."""
        with self._folder_in(self.code, f".{secrets.token_hex(8)}") as temporary, self._room():
            yield temporary / "tree"
            listing = json.dumps(list_tree(temporary / "tree"))
            write_atomic(self.listings / kept.name, listing, durable=False)
            remove_tree(kept)
            os.rename(temporary / "tree", kept)

    def share_code(self, kept: Path) -> str:
        """Makes objects of the files of kept code, and one of the list of them; the digest of that is returned.

        What is there already is not sent again. Raises: UserError for anything but plain files and folders.
        """
        paths = {path.relative_to(kept).as_posix(): path for path in sorted(kept.rglob("*"))}
        for path in paths.values():
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise UserError(f"{path}: is no plain file; only such can be brought to other machines")
        folders = [name for name, path in paths.items() if path.is_dir()]
        files = [name for name, path in paths.items() if path.is_file()]
        sent = side_by_side(lambda name: self._share_file(paths[name]), files)
        listing = {"kind": "tree", "folders": folders, "files": dict(zip(files, sent, strict=True))}
        return self.objects.add(json.dumps(listing, sort_keys=True).encode())

    def _share_file(self, path: Path) -> tuple[str, bool]:
        """Its digest, and whether it is executable."""
        return self.objects.add_file(path), bool(path.stat().st_mode & 0o100)

    def take_code(self, tree: str, name: str) -> Path:
        """The code that `share_code` named `tree`, as the folder `name` of `code`: whole or not at all.

        tree: "" where it can only be there. Several processes may take the same at once. Raises: StoreDamagedError
        where a part of the tree is missing or damaged, or where it is none.
        """
        kept = self.code / name
        if tree and self._state(kept) is None:
            with self._code_lock():
                if self._state(kept) is None:
                    self._fetch_code(tree, kept)
        return kept

    def _fetch_code(self, tree: str, kept: Path) -> None:
        folders, files = _listing(self.objects.read(tree), tree)
        self.objects.bring(digest for digest, _ in files.values())
        with self._new_code(kept) as root:
            for folder in (root, *(root / one for one in folders)):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o755)
            for place, (digest, executable) in files.items():
                self._put_file(digest, root / place, executable)

    def _put_file(self, digest: str, target: Path, executable: bool) -> None:
        """A link where that can be: weights are large, and an object is a file that nobody may write, too."""
        if not executable:
            with suppress(OSError):  # no links on this file system
                self.objects.link(digest, target)
                return
        self.objects.copy(digest, target)
        target.chmod(EXECUTABLE if executable else PLAIN)


def _listing(data: bytes, tree: str) -> tuple[list[str], dict[str, tuple[str, bool]]]:
    """Folders, parents first, and file -> (digest, whether it is executable). Raises: StoreDamagedError."""
    try:
        listing = json.loads(data)
        folders, files = listing["folders"], listing["files"]
        known = {".", *folders}
        sound = listing["kind"] == "tree" and not known & files.keys()
        sound = sound and all(_is_inside(name, known) for name in (*folders, *files))
        found = {name: (digest, executable is True) for name, (digest, executable) in files.items()}
        sound = sound and all(DIGEST.fullmatch(digest) for digest, _ in found.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound, folders, found = False, [], {}
    if not sound:
        raise StoreDamagedError(f"object {tree} is no list of a submission's files")
    return sorted(folders), found


def _is_inside(name: str, folders: set[str]) -> bool:
    """Whether it is a path in plain form that stays below its root, in a folder that is listed."""
    path = PurePosixPath(name)
    plain = str(path) == name and name != "." and not path.is_absolute() and "\0" not in name
    return plain and ".." not in path.parts and str(path.parent) in folders


def _make_readable(folder: Path) -> None:
    """Everybody may read and nobody write, whatever the participant's own modes were."""
    for path in folder.rglob("*"):
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if path.is_dir() else EXECUTABLE if executable else PLAIN)
