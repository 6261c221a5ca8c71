"""Who is alive: each process that plays calls for a store has a mark of its own, a locked file.

What it starts carries the mark's name. A lock is gone with its process, however that ends, and then anybody on the same
machine may clear away what the process left running.
"""

import fcntl
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

MARKS = "alive"
"""The folder of the marks, in that of a depot."""

Sweep = Callable[[str], int]
"""Removes what carries a mark; how many things is returned."""


def make_mark(folder: Path) -> IO[str]:
    """A new mark, which stands for as long as the file is open; its name is that of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / secrets.token_hex(8)
    while True:
        file = path.open("a")
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():  # nobody swept it between the two
            return file
        file.close()


def sweep_marks(folder: Path, sweep: Sweep) -> int:
    """Sweeps for every mark whose process is gone; how many things were removed is returned."""
    return sum(_sweep(path, sweep) for path in folder.glob("*"))


def _sweep(path: Path, sweep: Sweep) -> int:
    try:
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            swept = sweep(path.name)
            path.unlink(missing_ok=True)
            return swept
    except (BlockingIOError, FileNotFoundError):  # its process is alive, or somebody else is sweeping
        return 0
