"""Folders as a whole: copied for one call, and removed again whatever was made of them."""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from harness.digest import IGNORED_NAMES


def copy_tree(source: Path, target: Path, *, link: bool = False) -> None:
    """Copies (or hard-links) just those files of a validated folder that its digest was made of."""
    ignore = shutil.ignore_patterns(*IGNORED_NAMES)
    shutil.copytree(source, target, ignore=ignore, symlinks=True, copy_function=os.link if link else shutil.copy2)


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
    """Removes the files of an open folder and moves its folders to `place`; where they are now is returned."""
    moved = []
    with os.scandir(handle) as entries:
        found = list(entries)
    for entry in found:
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                aside = place / f".{secrets.token_hex(8)}"
                os.rename(entry.name, aside, src_dir_fd=handle)
                moved.append(aside)
            else:
                os.unlink(entry.name, dir_fd=handle)
    return moved
