"""Folders as a whole: copied for one call, and removed again whatever was made of them."""

import errno
import fcntl
import os
import secrets
import shutil
import stat
from contextlib import suppress
from itertools import islice
from pathlib import Path

from harness.digest import IGNORED_NAMES

SOME = 10_000
"""Entries of a folder that are looked at together."""


def copy_tree(source: Path, target: Path, *, link: bool = False) -> None:
    """Copies (or hard-links) just those files of a validated folder that its digest was made of."""
    ignore = shutil.ignore_patterns(*IGNORED_NAMES)
    shutil.copytree(source, target, ignore=ignore, symlinks=True, copy_function=os.link if link else shutil.copy2)


def list_tree(folder: Path) -> dict[str, list[int]]:
    """Everything below `folder`: relative name -> [mode, bytes], which are 0 for a folder. Links are not followed."""
    found: dict[str, list[int]] = {}
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            found[os.path.relpath(path, folder)] = [status.st_mode, size]
    return found


def share_file(source: Path, target: Path) -> None:
    """Makes `target` a hard link to a file that everybody may read and nobody but us may write; else a copy like that.

    Whoever gets `target` to read can then never change `source`; we still can, and `target` with it.
    """
    status = source.stat()
    readable, writable = status.st_mode & 0o444 == 0o444, status.st_mode & 0o022
    if readable and not writable and status.st_uid == os.geteuid():
        with suppress(OSError):  # on another file system, or on one without links
            os.link(source, target)
            return
    shutil.copy2(source, target)
    target.chmod(0o444)


def is_deeper(folder: Path, most: int) -> bool:
    """Whether folders lie more than `most` deep below `folder`; links are not followed, and nothing recurses."""
    level = [os.fspath(folder)]
    for _ in range(most + 1):
        try:
            level = [inner for path in level for inner in _folders(path)]
        except OSError as error:
            return error.errno == errno.ENAMETOOLONG
        if not level:
            return False
    return True


def _folders(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def remove_tree(folder: Path) -> None:
    """Removes a folder that a stranger may have filled, as far as it can be removed.

    However deep it is: folders are moved up beside `folder` before they are emptied, so that no path gets long
    and nothing recurses. Never through a link.
    """
    pending = [folder]
    while pending:
        top = pending.pop()
        with suppress(OSError):
            handle = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                pending += _empty(handle, folder.parent)
            finally:
                os.close(handle)
            os.rmdir(top)


def _empty(handle: int, place: Path) -> list[Path]:
    """Removes the files of an open folder and moves its folders to `place`; where they are now is returned.

    Some at a time: a list of the millions that a quota may allow would be half a gigabyte.
    """
    moved: list[Path] = []
    removed = 1
    while removed:
        with os.scandir(handle) as entries:
            found = list(islice(entries, SOME))
        removed = sum(_remove_entry(entry, handle, place, moved) for entry in found)
    return moved


def _remove_entry(entry: os.DirEntry[str], handle: int, place: Path, moved: list[Path]) -> bool:
    try:
        if entry.is_dir(follow_symlinks=False):
            aside = place / f".{secrets.token_hex(8)}"
            os.rename(entry.name, aside, src_dir_fd=handle)
            moved.append(aside)
        else:
            os.unlink(entry.name, dir_fd=handle)
    except OSError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a living process has a lock (flock) on a file or folder, or may have one."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
