"""The `process` sandbox: the same contract without a container, for submissions that one trusts.

It limits time, memory, processes and output as far as an operating system does that for a plain process. It
does not isolate: a submission may read what the user may read, and reach the network.
"""

import errno
import filecmp
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from harness.errors import InfrastructureError, UserError
from harness.records import Limits, Verdict
from harness.sandbox import OPEN_FILES, Ending, Job, Setting, launch
from harness.sandbox.environment import environment_digest
from harness.sandbox.failure import LOG_BYTES, Kill, classify, clean_log
from harness.sandbox.watch import Quota, watch
from harness.submission import Submission, UnavailableError
from harness.trees import remove_tree

STORE_VARIABLE = "HARNESS_STORE"
CALL_VARIABLE = "HARNESS_CALL"
"""Carried by everything that a call starts, so that even what left its session is found and ended."""

NO_CONTAINERS = "its container image is built from its own Dockerfile, and the process sandbox has no containers"

LAUNCH = (sys.executable, "-I", "-S", str(launch.__file__))

END_SECONDS = 5.0
"""How long the launcher may take to end what it began."""

OUR_OWN = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY)
"""Why a program may not start through no fault of its own. ETXTBSY: another thread began a process while this
program's file was being copied, and that process holds it open for writing until it has started."""


class Backend:
    """See `harness.sandbox.Sandbox`."""

    name = "process"
    isolates = False

    def __init__(self, setting: Setting) -> None:
        if setting.runtime or setting.seccomp:
            raise UserError("runtime, seccomp: the process sandbox has no containers; use --sandbox docker, or neither")
        self._setting = setting
        self._runtime = environment_digest()

    def prepare(self, submission: Submission, use_gpu: bool) -> str:
        if self._brings_its_own_packages(submission, use_gpu):
            raise UnavailableError(submission, NO_CONTAINERS, "--sandbox docker")
        return self._runtime

    def _brings_its_own_packages(self, submission: Submission, use_gpu: bool) -> bool:
        """Whether its image is built from its own Dockerfile, also where the organiser builds just that one."""
        own, given = submission.folder / "Dockerfile", self._setting.images.get(submission.container(use_gpu))
        if given is None or not own.is_file():
            return own.exists()
        return (given / "Dockerfile").is_file() and filecmp.cmp(own, given / "Dockerfile", shallow=False)

    def names(self, runtime: str) -> tuple[str, ...]:
        """No registry has an environment."""
        return ()

    def pack(self, runtime: str, archive: Path) -> None:
        raise InfrastructureError("the environment of the process sandbox cannot be brought to another machine")

    def provide(self, runtime: str, names: Sequence[str], archive: Path | None) -> bool:
        return runtime == self._runtime

    def check(self) -> None:
        """There is nothing that could have gone away."""

    def close(self) -> None:
        """There is nothing to let go of."""

    def sweep(self) -> int:
        for leftover in Path(tempfile.gettempdir()).glob(f"{self._prefix}*"):
            remove_tree(leftover)
        return _kill_marked(STORE_VARIABLE, self._setting.store_identity)

    @property
    def _prefix(self) -> str:
        """Of the names of temporary folders; as short as a path to a socket has to be."""
        return f"harness-{self._setting.store_identity}-"

    def run(self, job: Job, stop: threading.Event) -> Ending:
        temporary = Path(tempfile.mkdtemp(prefix=self._prefix))
        try:
            return self._run(job, stop, temporary)
        finally:
            remove_tree(temporary)

    def _run(self, job: Job, stop: threading.Event, temporary: Path) -> Ending:
        started = time.monotonic()
        try:
            process = self._start(job, str(temporary))
        except OSError as error:
            if error.errno in OUR_OWN:
                raise
            code = 126 if isinstance(error, PermissionError) else 127
            return Ending(Verdict.EXIT, code, 0.0, 0, f"the entry point cannot be started: {error.strerror}")
        log, family = _Log(process), _Family(process.pid, job.limits)
        try:
            quota = Quota(job, family.pids, [temporary])
            kill = watch(job, quota, _wait_aside(process), stop, family.look)
            seconds = time.monotonic() - started
        finally:
            _end(process, family)
            _kill_marked(CALL_VARIABLE, job.token)
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode  # as shells and engines say
        verdict = classify(code, out_of_memory=False, kill=kill)
        return Ending(verdict, code, seconds, family.peak, log.text(kill))

    def _start(self, job: Job, temporary: str) -> subprocess.Popen[bytes]:
        """Raises: OSError where the program cannot be started, InfrastructureError where its cores are not there."""
        heard, said = os.pipe2(os.O_CLOEXEC)
        limits = [str(job.largest_file), str(OPEN_FILES), ",".join(map(str, job.cores)), str(said)]
        with open(heard, "rb") as report:
            try:
                process = subprocess.Popen(
                    [*LAUNCH, *limits, *job.arguments(str(job.inputs), str(job.output))],
                    cwd=job.code,
                    env=self._environment(job, temporary),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=[said],
                )
            finally:
                os.close(said)
            _check_start(process, report.read(), job)
        return process

    def _environment(self, job: Job, temporary: str) -> dict[str, str]:
        """Nothing of the caller's environment but a path that begins with our own Python."""
        path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
        gpu = {"CUDA_VISIBLE_DEVICES": job.gpu or ""}
        marks = {STORE_VARIABLE: self._setting.store_identity, CALL_VARIABLE: job.token}
        return job.environment() | gpu | marks | {"PATH": path, "HOME": temporary, "TMPDIR": temporary}


class _Family:
    """The descendants of the launcher: their memory and their number against the limits."""

    def __init__(self, pid: int, limits: Limits) -> None:
        self.peak = 0
        self._pid = pid
        self._limits = limits
        self._seen: set[psutil.Process] = set()

    def kill(self) -> None:
        """Ends everybody who was ever seen; psutil tells a process from a later one of the same number."""
        for process in self._seen:
            with suppress(psutil.Error):
                process.kill()

    def pids(self) -> list[int]:
        """Those of the living."""
        return [process.pid for process in self._living()]

    def _living(self) -> list[psutil.Process]:
        """Without the launcher, which is ours."""
        try:
            return psutil.Process(self._pid).children(recursive=True)
        except psutil.Error:
            return []

    def look(self) -> Kill | None:
        memory, tasks = 0, 0
        for process in self._living():
            self._seen.add(process)
            with suppress(psutil.Error):
                memory += process.memory_info().rss
                tasks += process.num_threads()
        self.peak = max(self.peak, memory)
        if memory > self._limits.memory:
            reason = f"ended by the harness: it used more than {self._limits.memory} bytes of memory"
            return Kill(Verdict.OUT_OF_MEMORY, reason)
        if tasks > self._limits.pids:
            return Kill(Verdict.EXIT, f"ended by the harness: it ran more than {self._limits.pids} threads")
        return None


class _Log:
    """Reads what the process prints, keeping its beginning and its end, so that a flood fills nothing."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        half = LOG_BYTES // 2
        with stream:
            while piece := os.read(stream.fileno(), 1 << 16):
                room = half - len(self._head)
                self._head += piece[:room] if room > 0 else b""
                self._tail += piece[max(room, 0) :]
                self._left_out += max(0, len(self._tail) - half)
                del self._tail[:-half]

    def text(self, kill: Kill | None) -> str:
        """Everything kept, and our reason for ending the call."""
        self._reader.join(timeout=1)
        return clean_log(bytes(self._head), bytes(self._tail), self._left_out, kill)


def _check_start(process: subprocess.Popen[bytes], report: bytes, job: Job) -> None:
    """Raises what kept the program from being started, which is what the launcher has left in `report`."""
    if not report:
        return
    process.communicate()
    what, number = report.decode().split()
    reason = os.strerror(int(number))
    if what == "cores":
        raise InfrastructureError(f"the cores {job.cores} are not to be had ({reason})")
    raise OSError(int(number), reason)


def _end(process: subprocess.Popen[bytes], family: "_Family") -> None:
    """The launcher ends everybody and itself; where it cannot, for it was stopped or killed, we do."""
    family.look()  # who is seen now is ended also where the launcher is not there to do it
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    _kill_session(process.pid)
    family.kill()
    process.wait()


def _wait_aside(process: subprocess.Popen[bytes]) -> threading.Event:
    finished = threading.Event()

    def wait() -> None:
        process.wait()
        finished.set()

    threading.Thread(target=wait, daemon=True).start()
    return finished


def _kill_session(session: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signal.SIGKILL)


def _kill_marked(variable: str, value: str) -> int:
    """Ends every process whose environment carries the mark, with all that it started, until none is left."""
    killed = 0
    for _ in range(10):
        marked = [process for process in _others() if _mark(process, variable) == value]
        if not marked:
            break
        family = set(marked)
        for process in marked:
            with suppress(psutil.Error):
                family.update(process.children(recursive=True))
        for process in family:
            with suppress(psutil.Error):
                process.kill()
                killed += 1
        psutil.wait_procs(marked, timeout=1)
    return killed


def _others() -> Iterator[psutil.Process]:
    own = os.getpid()
    return (process for process in psutil.process_iter() if process.pid != own)


def _mark(process: psutil.Process, variable: str) -> str | None:
    try:
        return process.environ().get(variable)
    except (psutil.Error, OSError):
        return None
