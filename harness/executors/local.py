"""This machine: one thread for each slot, the slots sharing out its cores and GPUs."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from harness.records import Call, Outcome, Slot

Play = Callable[[Call, Slot, threading.Event], Outcome]


class Ground(Protocol):
    """What calls are played on, as far as an executor asks it anything."""

    def check(self) -> None:
        """Raises: EngineUnavailableError when a call could not be played now."""

    def sweep(self) -> int:
        """Removes what was left behind; how many were found is returned."""


class LocalExecutor:
    """See `harness.executors.Executor`. ground: what `play` plays calls on."""

    def __init__(self, slots: list[Slot], play: Play, ground: Ground) -> None:
        self._play, self._ground = play, ground
        self._free = list(reversed(slots))
        self._threads = ThreadPoolExecutor(len(slots), thread_name_prefix="slot")
        self._ended: queue.SimpleQueue[tuple[Call, Slot, Outcome | Exception]] = queue.SimpleQueue()
        self._running: dict[int, Call] = {}
        self._stop = threading.Event()

    @property
    def free_slots(self) -> int:
        return len(self._free)

    @property
    def running(self) -> tuple[Call, ...]:
        return tuple(self._running.values())

    def submit(self, call: Call) -> None:
        slot = self._free.pop()
        self._running[slot.number] = call
        self._threads.submit(self._run, call, slot)

    def _run(self, call: Call, slot: Slot) -> None:
        result: Outcome | Exception
        try:
            result = self._play(call, slot, self._stop)
        except Exception as error:  # noqa: BLE001 - handed to the runner, which decides whose fault it is
            result = error
        self._ended.put((call, slot, result))

    def wait(self, seconds: float) -> tuple[Call, Outcome | Exception] | None:
        try:
            call, slot, result = self._ended.get(timeout=seconds)
        except queue.Empty:
            return None
        del self._running[slot.number]
        self._free.append(slot)
        return call, result

    def close(self) -> None:
        self._stop.set()
        self._threads.shutdown(wait=True)

    def check(self) -> None:
        self._ground.check()

    def sweep(self) -> int:
        return self._ground.sweep()


def share_out(slots: int, cores: list[int], gpus: list[str], cpus: int | None = None) -> list[Slot]:
    """`slots` slots of `cpus` cores each (None: a fair share); where there are fewer cores than that, they overlap.

    Every slot gets as many cores as every other: the number of threads decides the last bits of a sum, and so
    whether a call that is made again gives the same image.
    """
    each = min(cpus or max(1, len(cores) // slots), len(cores))
    shares = []
    for number in range(slots):
        own = tuple(cores[(number * each + offset) % len(cores)] for offset in range(each))
        shares.append(Slot(number, own, gpus[number % len(gpus)] if gpus else None))
    return shares


def count_slots(cores: int, gpus: int, memory: int, memory_limit: int, cpus: int | None) -> int:
    """How many calls fit side by side: one for each GPU, else one for `cpus` cores each, as far as memory goes."""
    by_memory = max(1, memory // memory_limit)
    return max(1, min(gpus or cores // (cpus or 1), by_memory))
