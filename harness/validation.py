"""Taking files out of a folder that a stranger wrote: regular files, expected names, never through a link."""

import errno
import os
import stat
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from harness.records import Fault

MAX_LISTED = 10_000
"""Names that are looked at when unknown ones are counted; a million files must not cost us a minute."""


class OutputFaultError(Exception):
    """There is no file to take; `fault` says why."""

    def __init__(self, fault: Fault, detail: str) -> None:
        self.fault = fault
        self.detail = detail
        super().__init__(detail)


def read_output(folder: Path, name: str, max_bytes: int) -> bytes:
    """The bytes of the regular file `name` in `folder`, at most `max_bytes` of them.

    Folder and file are opened without following a link and without waiting for a pipe's other end, and judged by
    what was opened, not by what the name may point to a moment later. Raises: OutputFaultError.
    """
    handle = _open(folder, name)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OutputFaultError(Fault.NOT_A_FILE, "is no regular file of its own")
        if status.st_size > max_bytes:
            raise OutputFaultError(Fault.TOO_LARGE, f"has {status.st_size} bytes, more than {max_bytes}")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(max_bytes)
    finally:
        os.close(handle)


def _open(folder: Path, name: str) -> int:
    """A handle of whatever has that name."""
    try:
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=inside)
        finally:
            os.close(inside)
    except FileNotFoundError:
        raise OutputFaultError(Fault.MISSING, "was not written") from None
    except OSError as error:
        kind = "is a link" if error.errno == errno.ELOOP else f"cannot be opened ({error.strerror})"
        raise OutputFaultError(Fault.NOT_A_FILE, kind) from None


def count_unknown(folder: Path, expected: Iterable[str]) -> int:
    """How many entries of `folder` nobody asked for; counting stops at MAX_LISTED.

    A folder that the submission removed or closed to us has none.
    """
    names = set(expected)
    try:
        with os.scandir(folder) as entries:
            return sum(entry.name not in names for entry in islice(entries, MAX_LISTED))
    except OSError:
        return 0


def bytes_below(folder: Path, enough: int) -> int:
    """Disk space taken below `folder`, in bytes; looking stops once it is over `enough`.

    A sparse file counts what it takes up; an empty file counts a little, so that a million of them add up.
    A folder too deep for its path to be named counts as more than `enough`.
    """
    total = 0
    stack = [os.fspath(folder)]
    while stack and total <= enough:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    total += max(status.st_blocks * 512, 512)
                    if stat.S_ISDIR(status.st_mode):
                        stack.append(entry.path)
                    if total > enough:
                        break
        except OSError as error:  # gone or unreadable between two looks; the next look sees the rest
            if error.errno == errno.ENAMETOOLONG:  # too deep to be looked at: nothing may hide there
                return enough + 1
    return total
