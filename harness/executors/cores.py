"""Cores of a machine, of which each call has its own, whoever else plays calls there.

A core is a locked file. A lock is gone with its process, however that ends.
"""

import fcntl
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harness.errors import UserError
from harness.sandbox import CallStoppedError

LOOK_SECONDS = 0.05


@contextmanager
def take_cores(
    folder: Path, cores: Sequence[int], count: int, places: int, stop: threading.Event
) -> Iterator[tuple[int, ...]]:
    """`count` of `cores` that nobody else has.

    places: for how many cores the machine was given out; where that is more than it has, a core is had twice.
    Waits while there are too few, which whoever gives out the places should not let happen.
    Raises: CallStoppedError when `stop` is set meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        while len(taken := _take(folder, cores, count, max(places, count), held)) < count:
            held.close()  # what somebody else may want meanwhile
            if stop.wait(LOOK_SECONDS):
                raise CallStoppedError("stopped while it waited for cores")
        yield tuple(taken)


def own_folder(path: Path) -> Path:
    """`path`, made where it is missing. Others may write beside it: /tmp.

    Raises: UserError where somebody else has made it, who could have us open what he likes.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise UserError(f"{path}: is not a folder of this user; have it removed")
    return path


def _take(folder: Path, cores: Sequence[int], count: int, places: int, held: ExitStack) -> list[int]:
    """At most `count` cores, different ones while there are such; what is locked is added to `held`."""
    taken: dict[int, int] = {}
    for twice in (False, True):
        for place in range(places):
            core = cores[place % len(cores)]
            wanted = len(taken) < count and place not in taken and (twice or core not in taken.values())
            if wanted and _lock(folder / str(place), held):
                taken[place] = core
    return list(taken.values())


def _lock(path: Path, held: ExitStack) -> bool:
    with ExitStack() as opened:
        try:
            fcntl.flock(opened.enter_context(path.open("a")), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        held.enter_context(opened.pop_all())
    return True
