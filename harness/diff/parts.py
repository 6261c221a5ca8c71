"""Why a score moved: exact parts of the change, each decided from digests and answers.

A submission's score is a share of points over opponents, pictures and budgets. From one run to the other lead steps
that change one thing each, and a part is what the score changes by in its step:

1. Opponents that only one run has leave, or join; then pictures; then budgets. What stays is the core: common
   opponents on shared cells.
2. Within the core: labels, rules, answers that are not known, opponents that changed, answers of which both sides
   changed, the submission's own answers; in this order and in the reverse, and a part is the mean of both.

So the parts sum to the whole, and from the second run to the first they are the same with the other sign.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.diff.match import Positions, cell_mask
from harness.diff.views import View, points_of
from harness.records import Role
from harness.scoring import UNKNOWN, Flags

MICRO = 1_000_000
"""Published shares have six digits."""


class Part(StrEnum):
    """What a change is due to; `docs/diff.md` has a row for each."""

    OPPONENTS = "opponents"
    IMAGES = "images"
    EPSILONS = "epsilons"
    LABELS = "labels"
    RULES = "rules"
    HOLES = "holes"
    OPPONENTS_CHANGED = "opponents_changed"
    BOTH_CHANGED = "both_changed"
    OWN = "own"


Parts = dict[Part, Fraction]
Moved = frozenset[Part]
"""What is as in the second run already; all else is as in the first."""

OUTER = (Part.OPPONENTS, Part.IMAGES, Part.EPSILONS)
INNER = (Part.LABELS, Part.RULES, Part.HOLES, Part.OPPONENTS_CHANGED, Part.BOTH_CHANGED, Part.OWN)

OF_CELLS = (Part.HOLES, Part.OPPONENTS_CHANGED, Part.BOTH_CHANGED, Part.OWN)
"""To one of which the answer of each cell belongs, where it differs."""
HOLE, OPPONENT, BOTH, OWN = range(len(OF_CELLS))


@dataclass(frozen=True)
class Core:
    """One submission against the O common opponents on the C shared cells of two runs.

    before, after: O x C. steady: bool O, whether the defense of that pair is the same player in both runs.
    """

    before: View
    after: View
    steady: Flags

    @cached_property
    def same_image(self) -> Flags:
        """Bool O x C: the defense was shown the same image, and either both runs took the attack's own or neither."""
        same = (self.before.digests == self.after.digests) & (self.before.valid == self.after.valid)
        return np.asarray(same, dtype=bool)

    @cached_property
    def kinds(self) -> npt.NDArray[np.intp]:
        """Of each cell, the position in OF_CELLS: whose doing it is if its answer differs.

        Another answer to the same image is the defense's. One to another image is the attack's where the defense is
        the same player; where it is not, it may be of either.
        """
        defense, attack = (OWN, OPPONENT) if self.before.role is Role.DEFENSE else (OPPONENT, OWN)
        kinds = np.where(self.same_image, defense, np.where(self.steady[:, None], attack, BOTH))
        kinds[(self.before.labels == UNKNOWN) | (self.after.labels == UNKNOWN)] = HOLE
        return kinds

    def used(self, moved: Moved) -> Flags:
        """Which of the common opponents count, bool O."""
        view = self.after if Part.OPPONENTS_CHANGED in moved else self.before
        return view.used[self._rules(moved)]

    def won(self, moved: Moved) -> Flags:
        """The points, bool O x C."""
        before, after = self.before, self.after
        later = np.array([part in moved for part in OF_CELLS])[self.kinds]
        truth = after if Part.LABELS in moved else before
        labels, valid = np.where(later, after.labels, before.labels), np.where(later, after.valid, before.valid)
        return points_of(before.role, labels, valid, truth.true, truth.target, self._rules(moved))

    def _rules(self, moved: Moved) -> str:
        return (self.after if Part.RULES in moved else self.before).rules

    def active(self) -> Moved:
        """What can change the score at all; of the rest no points need to be counted."""
        before, after = self.before, self.after
        changed = (before.labels != after.labels) | (before.valid != after.valid)
        active = {OF_CELLS[kind] for kind in np.unique(self.kinds[changed])}
        if (before.true != after.true).any() or (before.target != after.target).any():
            active.add(Part.LABELS)
        if before.rules != after.rules:
            active.add(Part.RULES)
        if any((before.used[rules] != after.used[rules]).any() for rules in before.used):
            active.add(Part.OPPONENTS_CHANGED)
        return frozenset(active)


def inner_parts(core: Core) -> Parts:
    """The parts of the change within the core."""
    active = core.active()
    known: dict[Moved, Fraction] = {}

    def score(moved: Moved) -> Fraction:
        state = moved & active
        if state not in known:
            used = core.used(state)
            known[state] = fraction(int(core.won(state)[used].sum()), int(used.sum()) * core.before.labels.shape[1])
        return known[state]

    return _mean_of_orders(score)


def _mean_of_orders(score: Callable[[Moved], Fraction]) -> Parts:
    parts = dict.fromkeys(INNER, Fraction(0))
    for order in (INNER, INNER[::-1]):
        moved: Moved = frozenset()
        for part in order:
            parts[part] += (score(moved | {part}) - score(moved)) / 2
            moved |= {part}
    return parts


def narrowing(view: View, opponents: Positions, images: Positions, cells: Positions) -> list[Fraction]:
    """One run's score: whole, of the common opponents, of these on the shared pictures, and on the shared cells."""
    won, counts = view.won(view.rules), view.used[view.rules]
    common = np.zeros_like(counts)
    common[opponents] = counts[opponents]
    shape = view.labels.shape[1], view.labels.shape[2]
    everywhere, pictures = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    pictures[:, images] = True
    steps = (counts, everywhere), (common, everywhere), (common, pictures), (common, cell_mask(shape, cells))
    return [
        fraction(int(won[who][:, where].sum()), int(who.sum()) * int(where.sum())) for who, where in steps
    ]  # fmt: skip


def outer_parts(before: list[Fraction], after: list[Fraction]) -> Parts:
    """The parts of what only one run has, from both runs' `narrowing`."""
    return {
        part: (before[step + 1] - before[step]) + (after[step] - after[step + 1]) for step, part in enumerate(OUTER)
    }


def fraction(points: int, possible: int) -> Fraction:
    """A share of nothing is 0, as on the board."""
    return Fraction(points, possible) if possible else Fraction(0)


def in_micro(parts: Mapping[Part, Fraction], whole: int) -> dict[Part, int]:
    """The parts in millionths, rounded so that they sum to `whole`: those that lost most by it make up for the rest."""
    micro = {part: round(value * MICRO) for part, value in parts.items()}
    missing = whole - sum(micro.values())
    sign = 1 if missing > 0 else -1
    gains = {part: (value == 0, sign * (micro[part] - value * MICRO)) for part, value in parts.items()}
    for part in sorted(parts, key=gains.__getitem__)[: abs(missing)]:
        micro[part] += sign
    return micro
