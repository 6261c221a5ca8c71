"""The first process of a call under `process`: it begins the submission within limits, and buries what that leaves.

Called as `launch.py BYTES FILES CORES REPORT PROGRAM ARGUMENT...`: the largest file, the most open files, the cores
(1,2,3), and a descriptor where one line is left when the program cannot be started: `cores` or `program`, and an error
number. What the program starts and abandons becomes a child of this process, whatever session or environment it gives
itself, and ends with the call. SIGTERM ends the call. The exit code is the program's; after a signal, 128 more.
"""

import ctypes
import errno
import os
import resource
import signal
import sys
from types import FrameType
from typing import NoReturn

PR_SET_CHILD_SUBREAPER = 36
"""Of linux/prctl.h: who loses its parent becomes a child of this process."""

SHELL = "/bin/sh"


class EndedError(Exception):
    """The harness wants the call to end."""


def main() -> NoReturn:
    largest, files, cores, report, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    except OSError as error:
        _give_up(int(report), "cores", error)
    signal.signal(signal.SIGTERM, _end)
    try:
        program = os.fork()
    except OSError as error:
        _give_up(int(report), "program", error)
    if program == 0:
        _begin(command, int(largest), int(files), int(report))
    os.close(int(report))
    code = _wait_for(program)
    _bury()
    sys.exit(code)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise EndedError


def _begin(command: list[str], largest: int, files: int, report: int) -> NoReturn:
    """RLIMIT_AS is not among the limits: torch reserves far more than it uses."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    for limit, bound in ((resource.RLIMIT_FSIZE, largest), (resource.RLIMIT_NOFILE, files), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(limit, (bound, bound))
    os.set_inheritable(report, False)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # this Python ignores them, and so would the program
    try:
        os.execv(command[0], command)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            _give_up(report, "program", error)
        os.execv(SHELL, [SHELL, *command])  # as the C library does for a script that does not say what reads it


def _give_up(report: int, what: str, error: OSError) -> NoReturn:
    os.write(report, f"{what} {error.errno}".encode())
    os._exit(1)


def _wait_for(program: int) -> int:
    """The exit code of the program; from its end on, nothing keeps us from burying what is left."""
    try:
        while True:
            pid, status = os.wait()
            if pid == program:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
    except EndedError:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return 128 + signal.SIGKILL


def _bury() -> None:
    """Ends every child, and those who become children by that, until there is none."""
    while True:
        for child in _children():
            os.kill(child, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def _children() -> list[int]:
    """Not yet waited for, so that their numbers are nobody else's."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid():
            found.append(int(name))
    return found


if __name__ == "__main__":
    main()
