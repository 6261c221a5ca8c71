"""Where calls are played. An executor takes calls while it has a free slot and yields what came of them."""

from typing import Protocol

from harness.records import Call, Outcome


class Executor(Protocol):
    """What the runner drives; it never blocks but in `wait`."""

    @property
    def free_slots(self) -> int:
        """How many calls may be submitted now."""

    @property
    def running(self) -> tuple[Call, ...]:
        """The calls under way."""

    def submit(self, call: Call) -> None:
        """Begins a call in a free slot."""

    def wait(self, seconds: float) -> tuple[Call, Outcome | Exception] | None:
        """Waits until a call under way has ended, None after `seconds`; an exception is our own side's failure."""

    def close(self) -> None:
        """Stops what is under way and waits until nothing of it is left."""

    def check(self) -> None:
        """Raises: EngineUnavailableError when nothing can be played now."""

    def sweep(self) -> int:
        """Removes what failed calls left behind, also after `close`; how many were found is returned."""
