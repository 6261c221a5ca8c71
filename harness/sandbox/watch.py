"""The clock and the quota, the same for every backend."""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.records import Verdict
from harness.sandbox import CallStoppedError, Job
from harness.sandbox.failure import Kill
from harness.sandbox.held import held_bytes
from harness.validation import bytes_below

INTERVAL_SECONDS = 0.2

HELD_SECONDS = 1.0
"""How often files without a name are looked for, which takes longer than to look into a folder."""


class Quota:
    """What a call may put on the disk: in its output folder, in its copy of the code, and in `more` folders.

    To be made before the call starts, for what is staged is no part of its output. pids: asked for the processes
    of the call, as far as they can be seen from here.
    """

    def __init__(self, job: Job, pids: Callable[[], Iterable[int]] = tuple, more: Iterable[Path] = ()) -> None:
        self._job = job
        self._pids = pids
        self._folders = (job.output, job.code, *more)
        self._staged = bytes_below(job.code, 1 << 60)
        self._next = time.monotonic() + HELD_SECONDS

    def look(self) -> Kill | None:
        """Why the call must be ended, or does not count. Raises nothing where the call is over already."""
        limit = self._job.limits.output
        if self._written(limit) + self._held(limit) <= limit:
            return None
        return Kill(Verdict.BAD_OUTPUT, f"ended by the harness: it wrote more than {limit} bytes")

    def _written(self, limit: int) -> int:
        """Bytes that the call has put on the disk so far and that have a name."""
        return sum(bytes_below(folder, self._staged + limit) for folder in self._folders) - self._staged

    def _held(self, limit: int) -> int:
        if time.monotonic() < self._next:
            return 0
        self._next = time.monotonic() + HELD_SECONDS
        return held_bytes(self._pids(), self._job.output, limit)


def watch(
    job: Job, quota: Quota, finished: threading.Event, stop: threading.Event, look: Callable[[], Kill | None]
) -> Kill | None:
    """Waits until `finished`, and returns why the call must be ended before that or does not count, else None.

    `look` is asked every INTERVAL_SECONDS for further reasons; the quota also once after the end, so that it does
    not depend on the clock what is found. Raises: CallStoppedError when `stop` is set.
    """
    deadline = time.monotonic() + job.seconds
    while not finished.wait(min(INTERVAL_SECONDS, max(0.0, deadline - time.monotonic()))):
        if stop.is_set():
            raise CallStoppedError("stopped")
        if time.monotonic() >= deadline:
            return Kill(Verdict.TIMEOUT, f"ended by the harness: it ran longer than {job.seconds:g} s")
        if kill := quota.look() or look():
            return kill
    return quota.look()
