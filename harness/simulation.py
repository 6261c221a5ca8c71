"""How long calls would take side by side, in the order in which the runner makes them, on a clock of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

from harness.line import Line
from harness.schedule import MIXED_VERSIONS

MOST_EVENTS = 200_000
"""With more calls than that, some that follow each other on one slot are reckoned as one."""

PIECES = 10
"""They take at most one in so many of what is left for their slot, so that the end is told call by call."""


@dataclass(frozen=True)
class AttackWork:
    """Calls of one attack that are alike: `calls` of `images` images and `seconds` each."""

    seconds: float
    images: int
    calls: int
    gpu: bool = False
    start_up: float = 0.0


@dataclass(frozen=True)
class DefenseWork:
    """What a defense needs. line: seconds of a call; size: images in one at most; known: images it has labelled."""

    line: Line
    size: int
    known: int = 0
    gpu: bool = False


@dataclass(frozen=True)
class Room:
    """How many calls run side by side: at most `slots`, of them at most `gpus` on a GPU."""

    slots: int
    gpus: int = 0


@dataclass(frozen=True)
class Timeline:
    """What came of it. seconds: from the first call to the last end.

    busy, busy_gpus: seconds of all slots and of GPUs together; start_up: those that went into starting; longest_attack,
    longest_defense: seconds of the longest calls.
    """

    seconds: float
    calls: int
    busy: float
    busy_gpus: float
    start_up: float
    longest_attack: float
    longest_defense: float


def simulate(attacks: Sequence[AttackWork], defenses: Sequence[DefenseWork], there: int, room: Room) -> Timeline:
    """Plays `attacks` in their order and, as the runner does, each defense on what it has not labelled.

    A slot that is free takes the defense with the most to label of those that have MIXED_VERSIONS full calls; else the
    next attack; else the defense with the most to label. there: images that exist before. Every new image is one for
    each defense; which picture it is a version of is not followed, and no two are equal.
    """
    return _Play(attacks, defenses, there, room).run()


def _whole(attacks: Sequence[AttackWork], defenses: Sequence[DefenseWork], there: int) -> tuple[int, float]:
    """Calls and their seconds, if all those of defenses are full."""
    images = there + sum(work.images * work.calls for work in attacks)
    calls, seconds = sum(work.calls for work in attacks), sum(work.seconds * work.calls for work in attacks)
    for work in defenses:
        left = images - work.known
        calls += left // work.size
        seconds += left // work.size * work.line.fixed + left * work.line.each
    return calls, seconds


class _Play:
    """The state of one simulation; kinds are calls without a GPU (0) and with one (1)."""

    def __init__(self, attacks: Sequence[AttackWork], defenses: Sequence[DefenseWork], there: int, room: Room) -> None:
        self._attacks, self._defenses, self._offered = attacks, defenses, there
        calls, self._left_seconds = _whole(attacks, defenses, there)
        self._most, self._pieces = max(1, calls // MOST_EVENTS), PIECES * room.slots
        self._free, self._free_gpus = room.slots, room.gpus
        self._waiting = [[number for number, one in enumerate(attacks) if one.gpu is gpu] for gpu in (False, True)]
        for numbers in self._waiting:
            numbers.reverse()
        self._calls_left = [work.calls for work in attacks]
        self._queues: dict[tuple[bool, int], list[tuple[int, int]]] = {}
        for number, work in enumerate(defenses):
            self._queues.setdefault((work.gpu, work.size), []).append((work.known, number))
        for queue in self._queues.values():
            heapify(queue)
        self._ends: list[tuple[float, int, int, int]] = []
        self._now = self._busy = self._busy_gpus = self._start_up = 0.0
        self._longest = [0.0, 0.0]
        self._calls = 0
        self.events = 0
        """How many ends of calls there were, those that are reckoned as one being one."""

    def run(self) -> Timeline:
        while True:
            while self._free and self._begin():
                pass
            if not self._ends:
                break
            self._now, _, images, kind = heappop(self._ends)
            self._offered += images
            self._free += 1
            self._free_gpus += kind
        return Timeline(self._now, self._calls, self._busy, self._busy_gpus, self._start_up, *self._longest)

    def _begin(self) -> bool:
        """Begins what a free slot should do; False where there is nothing for it."""
        kinds = (0, 1) if self._free_gpus else (0,)
        firsts = [(queue[0], size, kind) for (kind, size), queue in self._queues.items() if kind in kinds]
        mixed = [one for one in firsts if self._offered - one[0][0] >= MIXED_VERSIONS * one[1]]
        if mixed:
            return self._label(*min(mixed))
        waiting = [(self._waiting[kind][-1], kind) for kind in kinds if self._waiting[kind]]
        if waiting:
            return self._attack(*min(waiting))
        first = min(firsts, default=None)
        return first is not None and self._offered > first[0][0] and self._label(*first)

    def _label(self, first: tuple[int, int], size: int, kind: int) -> bool:
        known, number = first
        line = self._defenses[number].line
        images = min(self._offered - known, size * self._grain(line.at(size)))
        calls = math.ceil(images / size)
        heapreplace(self._queues[bool(kind), size], (known + images, number))
        self._longest[1] = max(self._longest[1], line.at(min(images, size)))
        return self._add(calls, calls * line.fixed, images * line.each, 0, kind)

    def _attack(self, number: int, kind: int) -> bool:
        work = self._attacks[number]
        calls = min(self._grain(work.seconds), self._calls_left[number])
        self._calls_left[number] -= calls
        if not self._calls_left[number]:
            self._waiting[kind].pop()
        self._longest[0] = max(self._longest[0], work.seconds)
        start_up = calls * work.start_up
        return self._add(calls, start_up, calls * work.seconds - start_up, calls * work.images, kind)

    def _grain(self, seconds: float) -> int:
        """How many calls of so many seconds are reckoned as one."""
        most = self._most
        return most if most * seconds * self._pieces <= self._left_seconds else 1

    def _add(self, calls: int, start_up: float, rest: float, images: int, kind: int) -> bool:
        """A call, or several in a row, in a free slot, that end with so many new images."""
        seconds = start_up + rest
        heappush(self._ends, (self._now + seconds, self.events, images, kind))
        self.events += 1
        self._free -= 1
        self._free_gpus -= kind
        self._calls += calls
        self._left_seconds -= seconds
        self._busy += seconds
        self._busy_gpus += seconds * kind
        self._start_up += start_up
        return True
