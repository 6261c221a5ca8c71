"""Files that take up the disk and have no name any more: no look into a folder finds them, but their owners do.

What this cannot see: a descriptor that lies in the queue of a socket and is open in no process, and processes of
another machine or of a namespace above ours.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MOST_LOOKED = 100_000
"""Open files of one call that are looked at; who has more has too many."""

CGROUPS = Path("/sys/fs/cgroup")


def held_bytes(pids: Iterable[int], folder: Path, enough: int) -> int:
    """Disk space, in bytes, of nameless files on the file system of `folder` that `pids` keep open or mapped.

    More than `enough` where there are too many open files to look at.
    """
    device, found = os.stat(folder).st_dev, {}
    looked = 0
    for pid in pids:
        for status in (*_open_files(pid), *_mapped_files(pid)):
            looked += 1
            if looked > MOST_LOOKED:
                return enough + 1
            if status.st_nlink == 0 and status.st_dev == device and stat.S_ISREG(status.st_mode):
                found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def _open_files(pid: int) -> Iterator[os.stat_result]:
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(OSError):
                yield entry.stat()


def _mapped_files(pid: int) -> Iterator[os.stat_result]:
    """Those that have no name; only root may ask for them."""
    with suppress(OSError), open(f"/proc/{pid}/maps", errors="replace") as lines:
        for line in lines:
            if line.endswith("(deleted)\n"):
                with suppress(OSError):
                    yield os.stat(f"/proc/{pid}/map_files/{line.split()[0]}")


def processes_of(container: str, pid: int) -> list[int]:
    """The processes of a container, as this machine numbers them; none where they cannot be seen from here.

    pid: of its first process, in the engine's words. container: its full id, which must be in the path of its
    cgroup: where we live in a container ourselves, the same number is somebody else.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for name in ["", *controllers.split(",")]:
                members = CGROUPS / name.removeprefix("name=") / path.lstrip("/") / "cgroup.procs"
                if container in path and members.is_file():
                    return [int(word) for word in members.read_text().split()]
    return []
