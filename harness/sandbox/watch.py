"""The clock and the quota, the same for every backend."""

import threading
import time
from collections.abc import Callable

from harness.records import Verdict
from harness.sandbox import CallStoppedError, Job
from harness.sandbox.failure import Kill
from harness.validation import bytes_below

INTERVAL_SECONDS = 0.2


def staged_bytes(job: Job) -> int:
    """What its copy of the code takes up; to be asked before the call starts, and no part of its output."""
    return bytes_below(job.code, 1 << 60)


def watch(
    job: Job, staged: int, finished: threading.Event, stop: threading.Event, look: Callable[[], Kill | None]
) -> Kill | None:
    """Waits until `finished`, and returns why the call must be ended before that or does not count, else None.

    staged: see `staged_bytes`. `look` is asked every INTERVAL_SECONDS for further reasons.
    Raises: CallStoppedError when `stop` is set.
    """
    deadline = time.monotonic() + job.seconds
    while not finished.wait(min(INTERVAL_SECONDS, max(0.0, deadline - time.monotonic()))):
        if stop.is_set():
            raise CallStoppedError("stopped")
        if time.monotonic() >= deadline:
            return Kill(Verdict.TIMEOUT, f"ended by the harness: it ran longer than {job.seconds:g} s")
        if too_much := _look_at_output(job, staged):
            return too_much
        if kill := look():
            return kill
    return _look_at_output(job, staged)


def _look_at_output(job: Job, staged: int) -> Kill | None:
    """Also asked once after the end, so that it does not depend on the clock what is found."""
    if _written(job, staged) <= job.limits.output:
        return None
    return Kill(Verdict.BAD_OUTPUT, f"ended by the harness: it wrote more than {job.limits.output} bytes")


def _written(job: Job, staged: int) -> int:
    """Bytes that the call has put on the disk so far, in its output folder and in its copy of the code."""
    limit = job.limits.output
    return bytes_below(job.output, limit) + bytes_below(job.code, staged + limit) - staged
