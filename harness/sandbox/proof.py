"""Does this sandbox, on this machine, keep what it promises? Every attempt of `rules` is made in it and judged.

An attempt judges itself from inside, by its exit code. From outside count how the sandbox ended it, what is left of
it, what it did to what had been staged, to our own memory, to a program of ours that listens, and to the call beside.
"""

import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.records import Verdict
from harness.sandbox import Ending, Sandbox
from harness.sandbox.bench import LIMITS, Bench, Staged
from harness.sandbox.failure import LOG_BYTES
from harness.sandbox.rules import ATTEMPTS, GOT_OUT, NOT_TRIED, REACHING_OUT, Attempt
from harness.validation import bytes_below

OWN_MEMORY_BYTES = 64 << 20
"""By how much our own peak may grow in one attempt."""

BURIAL_SECONDS = 5.0
"""How long the kernel may take to bury what was killed."""

KILLED = 137
"""The exit code of what was ended by SIGKILL."""

LEFTOVERS = Attempt("leftovers", REACHING_OUT, "nothing of a call is left to be swept")


class State(StrEnum):
    """What came of an attempt."""

    CONTAINED = "contained"
    OUT = "NOT contained"
    UNTRIED = "could not be tried"
    UNPROMISED = "not promised"


@dataclass(frozen=True)
class Finding:
    """what: what happened, or why it could not be tried or is not promised."""

    attempt: Attempt
    state: State
    what: str


def prove(
    sandbox: Sandbox, image: str, folder: Path, cores: tuple[int, ...], attempts: Sequence[Attempt] = ATTEMPTS
) -> Iterator[Finding]:
    """Makes the attempts one after the other, beside a call that lasts as long as all of them.

    image: the container image that they are made in. folder: an empty folder of ours, on the file system that is to
    be protected. One finding more than attempts: the last is what was left behind.
    Raises: UserError where nothing runs in that image.
    """
    with Bench(sandbox, image, folder, cores) as bench:
        bench.start_rival()
        for attempt in attempts:
            promised = sandbox.isolates or not attempt.unpromised
            yield _make(bench, attempt) if promised else Finding(attempt, State.UNPROMISED, attempt.unpromised)
        yield _leftovers(bench)


def _make(bench: Bench, attempt: Attempt) -> Finding:
    finding = Finding(attempt, State.UNTRIED, "")
    for number in range(1, attempt.calls + 1):
        peak, touched = _own_peak(), bench.touched
        staged, ending = bench.call(attempt, number)
        try:
            finding = judge(attempt, ending)
            if wrong := _from_outside(bench, staged, ending, peak, touched):
                return Finding(attempt, State.OUT, wrong)
        finally:
            bench.forget(staged)
        if finding.state is not State.CONTAINED:
            break
    return finding


def judge(attempt: Attempt, ending: Ending) -> Finding:
    """What the attempt says itself, and what its end says of it."""
    said = (ending.log.strip().splitlines() or [f"ended with {ending.verdict}"])[-1]
    if ending.verdict is Verdict.EXIT and ending.exit_code == GOT_OUT:
        return Finding(attempt, State.OUT, said)
    if ending.verdict is Verdict.EXIT and ending.exit_code == NOT_TRIED:
        return Finding(attempt, State.UNTRIED, said)
    ended_by_us = ending.verdict in attempt.ends and (ending.verdict is not Verdict.EXIT or ending.exit_code == KILLED)
    if ended_by_us:
        return Finding(attempt, State.CONTAINED, said if said.startswith("[") else f"ended with {ending.verdict}")
    if ending.verdict is Verdict.OK:
        return Finding(attempt, State.CONTAINED, said)
    return Finding(attempt, State.UNTRIED, f"ended with {ending.verdict}, exit code {ending.exit_code}: {said}")


def _from_outside(bench: Bench, staged: Staged, ending: Ending, peak: int, touched: int) -> str | None:
    """What went wrong, whatever the attempt says of itself."""
    own, given = bench.unchanged(staged)
    on_disk, noticed = bytes_below(staged.job.output, 1 << 40), ending.verdict is Verdict.BAD_OUTPUT
    looks = (
        (bool(_alive(bench.mark)), "a process that it started is still alive"),
        (not own, "what was handed in was changed"),
        (not given and bench.sandbox.isolates, "its input was changed"),
        (on_disk > LIMITS.output and not noticed, f"{on_disk} bytes are on the disk, and nobody noticed"),
        (len(ending.log) > 2 * LOG_BYTES, f"{len(ending.log)} characters were kept of what it printed"),
        (_own_peak() - peak > OWN_MEMORY_BYTES, f"the harness itself grew to {_own_peak()} bytes"),
        (bench.touched > touched and bench.sandbox.isolates, "it reached a program that listens on the host"),
        (bench.rival_ended is not None, bench.rival_ended or ""),
    )
    return next((what for wrong, what in looks if wrong), None)


def _leftovers(bench: Bench) -> Finding:
    bench.stop_rival()
    left = bench.sandbox.sweep()
    state = State.OUT if left else State.CONTAINED
    return Finding(LEFTOVERS, state, f"{left} were found" if left else "nothing was found")


def _own_peak() -> int:
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _alive(mark: str) -> list[int]:
    """Processes that carry `mark`, after a while in which they may be buried."""
    deadline = time.monotonic() + BURIAL_SECONDS
    while (found := _marked(mark.encode())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _marked(mark: bytes) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if mark in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found
