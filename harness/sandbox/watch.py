"""The clock and the quota, the same for every backend."""

import threading
import time
from collections.abc import Callable

from harness.records import Verdict
from harness.sandbox import CallStoppedError, Job
from harness.sandbox.failure import Kill
from harness.validation import bytes_below

INTERVAL_SECONDS = 0.2


def watch(job: Job, finished: threading.Event, stop: threading.Event, look: Callable[[], Kill | None]) -> Kill | None:
    """Waits until `finished`, and returns why the call must be ended before that, None if it need not be.

    `look` is asked every INTERVAL_SECONDS for further reasons. Raises: CallStoppedError when `stop` is set.
    """
    deadline = time.monotonic() + job.seconds
    own_code = bytes_below(job.code, 1 << 60)
    while not finished.wait(min(INTERVAL_SECONDS, max(0.0, deadline - time.monotonic()))):
        if stop.is_set():
            raise CallStoppedError("stopped")
        if time.monotonic() >= deadline:
            return Kill(Verdict.TIMEOUT, f"ended by the harness: it ran longer than {job.seconds:g} s")
        if _written(job, own_code) > job.limits.output:
            return Kill(Verdict.BAD_OUTPUT, f"ended by the harness: it wrote more than {job.limits.output} bytes")
        if kill := look():
            return kill
    return None


def _written(job: Job, own_code: int) -> int:
    """Bytes that the call has put on the disk so far, in its output folder and in its copy of the code."""
    limit = job.limits.output
    return bytes_below(job.output, limit) + bytes_below(job.code, own_code + limit) - own_code
