"""Which attack is called next."""

from collections.abc import Sequence

from harness.pace import Pace
from harness.plan import Player

LONG = 0.05
"""A call that takes more than this share of what the whole rest takes must not be among the last."""

CHANGED = 1.1
"""All attacks are ranked anew when the rest has become so many times shorter or longer."""

Rank = tuple[int, float]


def urgency(seconds: float | None, images: int, rest: float) -> Rank:
    """Where a call of an attack stands; the smallest is called next.

    seconds: what it is likely to take, None where the attack is not measured yet. rest: what is left to do, in seconds
    of all slots together.

    First those that are not measured, as all else hangs on it. Then the long ones, the longest first: calls in any
    order take at most the ideal time and that of the longest chain of calls (Graham 1969), so only a long call that
    begins late costs much. Then those that give the defenses most images to label for their own time.
    """
    if seconds is None:
        return 0, 0.0
    if seconds > LONG * rest:
        return 1, -seconds
    return 2, seconds / max(1, images)


class Order:
    """The attacks of a run by urgency, while more and more of them is measured.

    attacks: by position. images: of a full batch.
    """

    def __init__(self, pace: Pace, attacks: Sequence[Player], images: int) -> None:
        self._pace, self._attacks, self._images = pace, attacks, images
        self._begun: set[str] = set()
        self._rest = 0.0
        self._ranks: list[Rank] = []

    def choose(self, attacks: Sequence[int], rest: float) -> int:
        """Which of these is called next; of one that is not measured a second call waits until others began.

        rest: seconds of all slots together that are left.
        """
        if not self._ranks or not self._rest / CHANGED <= rest <= self._rest * CHANGED:
            self._rest = rest
            self._ranks = [self._rank(player) for player in self._attacks]
        chosen = min(attacks, key=self._ranks.__getitem__)
        self._begun.add(self._attacks[chosen].key)
        self.learned(chosen)
        return chosen

    def learned(self, attack: int) -> None:
        """A call of it began or ended."""
        if self._ranks:
            self._ranks[attack] = self._rank(self._attacks[attack])

    def _rank(self, player: Player) -> Rank:
        key = player.key
        if not self._pace.knows(key) and key not in self._begun:
            return urgency(None, self._images, self._rest)
        seconds = self._pace.seconds(key, player.submission.role, self._images)
        return (2, 0.0) if seconds is None else urgency(seconds, self._images, self._rest)
