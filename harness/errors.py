"""What can go wrong, told apart by whose turn it is to act."""

import errno
from collections.abc import Iterable

OK, EXPECTED_ERROR, USAGE, BUG, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit codes of every command."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Of an OSError: a disk that takes no more, which trying again does not help."""

MAX_LINE = 2000
"""Characters of one line that is shown; a stranger may have written most of it."""


def printable(text: str, most: int = MAX_LINE) -> str:
    """One line that is safe to show: nothing that ends it, moves the cursor or turns the direction of text.

    File names, metadata and what a container engine repeats may hold any of that. What is too long loses its middle.
    """
    if len(text) > most:
        text = f"{text[: most // 2]} ... {text[-(most // 2) :]}"
    return "".join(char if char == "\t" or char.isprintable() else "\ufffd" for char in text)


class UserError(Exception):
    """Something the caller can mend: every line names the thing, the rule it broke and the next action."""

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults = [printable(fault) for fault in ([faults] if isinstance(faults, str) else faults)]
        super().__init__("\n".join(self.faults))


class InfrastructureError(Exception):
    """Our own side failed (engine, disk, store): the call is tried again and never scored."""

    def __init__(self, reason: str) -> None:
        super().__init__(printable(reason))


class EngineUnavailableError(InfrastructureError):
    """What every call needs (an engine, the objects) does not answer; trying again at once cannot help."""


class StoreDamagedError(InfrastructureError):
    """An object of the store is missing or is not what its name says."""


class ObjectMissingError(StoreDamagedError):
    """It is not there, which says nothing of the others."""
