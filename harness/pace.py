"""What calls cost, from calls that were made: seconds to start and seconds for each image, of every player."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from harness.line import LEVER, Line, fit
from harness.records import Call, Outcome, Role, Verdict

RECENT = 15
"""Calls of one size that are remembered; a machine changes, and many thousand calls must not weigh on memory."""

STALE = 1.1
"""A fit is made anew when there are so many times the calls of the last one."""

SUCCESSES = 3
"""Calls of a defense that must have ended well before one with more than a batch is tried."""

SMALL_SHARE = 0.2
"""The share of a call that start-up should be at most."""

PIECES = 4
"""A call with more than a batch takes at most one in so many of the images that are left for its slot."""

MOST_BATCHES = 8
"""Batches in one call at most: so much is lost when it fails."""


@dataclass(frozen=True)
class Estimate:
    """Seconds: what is likely, and what a tenth of calls is below and a tenth above.

    likely: None, and low 0, where nothing like it was measured and only a limit is known. measured: whether calls
    of this very player were.
    """

    low: float
    likely: float | None
    high: float
    measured: bool


class Made(Protocol):
    """A call that was made, as the ledger has it."""

    @property
    def role(self) -> Role: ...
    @property
    def player(self) -> str: ...
    @property
    def verdict(self) -> Verdict: ...
    @property
    def seconds(self) -> float: ...
    @property
    def images(self) -> int: ...


class Pace:
    """Learns from calls in the order in which they were made.

    A player that was not measured is taken for the median of those of its role. All calls count that a submission
    ended or a limit did: one that always times out costs its limit again.
    """

    def __init__(self, calls: Iterable[Made] = ()) -> None:
        self._players: dict[str, _History] = {}
        self._roles: dict[Role, list[_History]] = {role: [] for role in Role}
        self._medians: dict[Role, Line] = {}
        for call in calls:
            self.learn(call.player, call.role, call.images, call.seconds, call.verdict)

    def add(self, call: Call, outcome: Outcome) -> None:
        """Learns from a call that ended."""
        self.learn(call.unit.player, call.unit.role, len(call.images), outcome.seconds, outcome.verdict)

    def learn(self, player: str, role: Role, images: int, seconds: float, verdict: Verdict) -> None:
        """The same from its parts. A call without images tells nothing."""
        if images <= 0:
            return
        if player not in self._players:
            self._players[player] = _History(role)
            self._roles[role].append(self._players[player])
        if self._players[player].add(images, seconds, verdict):
            self._medians.pop(role, None)

    def knows(self, player: str) -> bool:
        """Whether a call of this player was measured."""
        return player in self._players

    @property
    def knows_any(self) -> bool:
        """Whether any call was measured."""
        return bool(self._players)

    def line(self, player: str, role: Role) -> Line | None:
        """Start-up and work of a player, or of a median one of its role; None where none was measured.

        Where all calls of a player had much the same number of images, they cannot be told apart: the share of
        start-up is then the one of its role, or none.
        """
        history = self._players.get(player)
        if history is None:
            return self._median(role)
        return history.line or history.split(self._start_up_share(role, history.usual[0]))

    def seconds(self, player: str, role: Role, images: int) -> float | None:
        """What a call of so many images is likely to take; None where nothing of this role was measured."""
        line = self.line(player, role)
        return line.at(images) if line else None

    def estimate(self, player: str, role: Role, images: int, limit: float) -> Estimate:
        """The same with its spread: over calls of this player, else over players of its role, else up to `limit`."""
        line = self.line(player, role)
        if line is None:
            return Estimate(0.0, None, limit, False)
        likely = min(line.at(images), limit)
        history = self._players.get(player)
        if history is None:
            others = [self.line(name, role) for name, one in self._players.items() if one.role is role]
            costs = [other.at(images) for other in others if other]
            return Estimate(min(*costs, limit), likely, min(max(costs), limit), False)
        low, high = history.bounds(images)
        return Estimate(min(low, likely), likely, min(max(high, likely), limit), True)

    def remaining(self, left: Iterable[tuple[str, Role, int, int]], slots: int) -> float | None:
        """Seconds until what is left is done on so many slots; None where nothing like it was measured.

        left: (player, role, images, calls that they are spread over) of each player that has something to do.
        It is at least as long as the longest single call.
        """
        total = longest = 0.0
        for player, role, images, calls in left:
            if images <= 0:
                continue
            line = self.line(player, role)
            if line is None:
                return None
            calls = max(1, calls)
            total += line.fixed * calls + line.each * images
            longest = max(longest, line.fixed + line.each * images / calls)
        return max(total / slots, longest)

    def batches(self, player: str, batch_size: int, left: float = math.inf, *, eventually: bool = False) -> int:
        """How many batches' worth of pictures a call of a defense should hold.

        left: how many images each slot has still to label, of which a call takes at most one in PIECES.

        One, unless start-up is more than SMALL_SHARE of the call. It grows by doubling, each time after a call of the
        size before has ended well, and is one for good once any call has not. eventually: where it would end.
        """
        history = self._players.get(player)
        if history is None or history.succeeded < SUCCESSES or history.failed:
            return 1
        # Without a line only a larger call can tell what start-up takes.
        wanted = _batches(history.line, batch_size) if history.line else 1 if eventually else LEVER
        grown = wanted if eventually else min(wanted, LEVER * max(1, history.largest_fine // batch_size))
        return max(1, min(grown, math.floor(min(left / PIECES / batch_size, MOST_BATCHES))))

    def _median(self, role: Role) -> Line | None:
        if role not in self._medians:
            lines = [history.line or history.split(0.0) for history in self._roles[role]]
            if not lines:
                return None
            self._medians[role] = Line(median(line.fixed for line in lines), median(line.each for line in lines))
        return self._medians[role]

    def _start_up_share(self, role: Role, images: int) -> float:
        middle = self._median(role)
        return middle.fixed / middle.at(images) if middle and middle.at(images) > 0 else 0.0


def _batches(line: Line, batch_size: int) -> int:
    """The fewest batches at which start-up is at most SMALL_SHARE of the call."""
    work = line.each * batch_size
    wanted = line.fixed * (1 - SMALL_SHARE) / SMALL_SHARE
    return MOST_BATCHES if wanted > work * MOST_BATCHES else max(1, math.ceil(wanted / work)) if wanted else 1


@dataclass
class _History:
    """What calls of one player took.

    line: None where sizes do not tell start-up from work. usual: the number of images that most calls had, and the
    median of their seconds.
    """

    role: Role
    calls: int = 0
    succeeded: int = 0
    largest_fine: int = 0
    failed: bool = False
    line: Line | None = None
    usual: tuple[int, float] = (1, 0.0)
    _fitted: int = 0
    _seconds: dict[int, deque[float]] = field(default_factory=dict)

    def add(self, images: int, seconds: float, verdict: Verdict) -> bool:
        """Whether the line was fitted anew."""
        self._seconds.setdefault(images, deque(maxlen=RECENT)).append(seconds)
        self.calls += 1
        if verdict is Verdict.OK:
            self.succeeded += 1
            self.largest_fine = max(self.largest_fine, images)
        else:
            self.failed = True
        if self.calls < STALE * self._fitted:
            return False
        self._fitted = self.calls
        self.usual = self._most_usual()
        self.line = fit(self._seconds)
        return True

    def _most_usual(self) -> tuple[int, float]:
        size = max(self._seconds, key=lambda size: (len(self._seconds[size]), size))
        return size, median(self._seconds[size])

    def split(self, share: float) -> Line:
        """A line through the usual call, `share` of it start-up."""
        images, seconds = self.usual
        return Line(share * seconds, (1 - share) * seconds / images)

    def bounds(self, images: int) -> tuple[float, float]:
        """Seconds of a call of so many images that a tenth of calls would be below, and a tenth above.

        Where start-up is not known, all of a call may be, or nothing.
        """
        lines = [self.line] if self.line else [self.split(0.0), self.split(1.0)]
        found = [line.at(images) * ratio for line in lines for ratio in self._ratios(line)]
        return min(found), max(found)

    def _ratios(self, line: Line) -> tuple[float, float]:
        """The first and last tenth of seconds over what the line says."""
        ratios = sorted(
            one / line.at(size) for size, seconds in self._seconds.items() for one in seconds if line.at(size) > 0
        )
        return (ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]) if ratios else (1.0, 1.0)
