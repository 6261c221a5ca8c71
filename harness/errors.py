"""What can go wrong, told apart by whose turn it is to act."""

from collections.abc import Iterable

OK, EXPECTED_ERROR, USAGE, BUG, INTERRUPTED = 0, 1, 2, 3, 130
"""The exit codes of every command."""


class UserError(Exception):
    """Something the caller can mend: every line names the thing, the rule it broke and the next action."""

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class InfrastructureError(Exception):
    """Our own side failed (engine, disk, store): the call is tried again and never scored."""


class EngineUnavailableError(InfrastructureError):
    """The container engine does not answer; trying again at once cannot help."""


class StoreDamagedError(InfrastructureError):
    """An object of the store is missing or is not what its name says."""
