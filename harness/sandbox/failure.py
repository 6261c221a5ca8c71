"""Whose fault it was: pure functions from what was observed to a verdict."""

from dataclasses import dataclass

from harness.records import Verdict

CANNOT_START = (126, 127)
"""Exit codes by which engines and shells say that the program is not there or cannot be run."""

LOG_BYTES = 64 << 10


@dataclass(frozen=True)
class Kill:
    """Why a call is ended by us: the verdict, and a line for its log."""

    verdict: Verdict
    reason: str


def classify(exit_code: int, *, out_of_memory: bool, kill: Kill | None) -> Verdict:
    """The verdict on a call that ended.

    `kill` is our own reason for ending it, `out_of_memory` the kernel's word that its limit was hit. A
    program that merely exits with 137 was not out of memory.
    """
    if kill is not None:
        return kill.verdict
    if out_of_memory and exit_code != 0:
        return Verdict.OUT_OF_MEMORY
    return Verdict.OK if exit_code == 0 else Verdict.EXIT


def start_was_refused(exit_code: int | None) -> bool:
    """Whether a failed start is the submission's doing (no such program) rather than the engine's."""
    return exit_code in CANNOT_START


def clean_log(head: bytes, tail: bytes = b"", left_out: int = 0, kill: Kill | None = None) -> str:
    """Log text that is safe to show: UTF-8, no control characters, the middle left out where it was too long.

    `kill` adds our own last line, for a call that we ended.
    """
    text = head.decode("utf-8", errors="replace")
    if left_out:
        text += f"\n... {left_out} bytes left out ...\n"
    text += tail.decode("utf-8", errors="replace")
    if kill:
        text = f"{text.rstrip()}\n[{kill.reason}]\n".lstrip()
    return "".join(char if char in "\n\t" or char.isprintable() else "\ufffd" for char in text.replace("\r", "\n"))
