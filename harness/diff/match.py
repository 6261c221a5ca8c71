"""What two runs have in common: submissions, pictures, and the cells (picture and budget) that both were played on."""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from harness.assembly import image_budgets
from harness.publish.evidence import Evidence
from harness.records import Role
from harness.round import RoundAttack, RoundDefense, RoundImage
from harness.scoring import Flags

T = TypeVar("T")
Pairs = list[tuple[int | None, int | None]]
"""Positions before and after; None where one of the two runs has it not. Those of both runs come first."""

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Entrant:
    """A submission in one run. position: among all attacks of the round, untargeted ones first, or among the defenses.
    container: None where the run's provenance does not say.
    """

    position: int
    role: Role
    name: str
    submission: str
    player: str
    container: str | None

    @property
    def who(self) -> tuple[Role, str]:
        return self.role, self.name


def entrants(evidence: Evidence, role: Role) -> list[Entrant]:
    """The submissions of a role in the order of the round."""
    round_ = evidence.round
    listed: Sequence[RoundAttack | RoundDefense] = round_.defenses if role is Role.DEFENSE else round_.attacks
    targeted = role is Role.TARGETED_ATTACK
    containers = _containers(evidence.provenance.get("submissions", ()), role)
    return [
        Entrant(position, role, one.name, one.submission, one.player, containers.get(one.name))
        for position, one in enumerate(listed)
        if isinstance(one, RoundDefense) or one.targeted is targeted
    ]


def _containers(listed: Iterable[dict[str, Any]], role: Role) -> dict[str, str]:
    return {one["name"]: one["container"] for one in listed if one.get("type") == role and "container" in one}


@dataclass(frozen=True)
class Field:
    """The submissions of one role in two runs, and which of them are the same."""

    before: list[Entrant]
    after: list[Entrant]
    pairs: Pairs

    @property
    def both(self) -> list[tuple[Entrant, Entrant]]:
        return [(self.before[old], self.after[new]) for old, new in shared(self.pairs)]

    @property
    def removed(self) -> list[Entrant]:
        return [self.before[old] for old, new in self.pairs if old is not None and new is None]

    @property
    def added(self) -> list[Entrant]:
        return [self.after[new] for old, new in self.pairs if old is None and new is not None]


def match_field(before: Evidence, after: Evidence, role: Role) -> Field:
    """By name; what is left by what it does, so that one that got another name is the same."""
    old, new = entrants(before, role), entrants(after, role)
    return Field(old, new, match(old, new, lambda one: one.name, lambda one: one.submission))


def match(before: Sequence[T], after: Sequence[T], *keys: Callable[[T], Hashable]) -> Pairs:
    """Pairs those of one key, by the first key that fits; equals are paired in their order."""
    left, right = dict(enumerate(before)), dict(enumerate(after))
    pairs: Pairs = []
    for key in keys:
        waiting: dict[Hashable, deque[int]] = defaultdict(deque)
        for position, one in right.items():
            waiting[key(one)].append(position)
        for position in list(left):
            if same := waiting[key(left[position])]:
                pairs.append((position, same[0]))
                del left[position], right[same.popleft()]
    return sorted(pairs) + [(position, None) for position in left] + [(None, position) for position in right]


def shared(pairs: Pairs) -> list[tuple[int, int]]:
    return [(before, after) for before, after in pairs if before is not None and after is not None]


@dataclass(frozen=True)
class SharedCells:
    """What both runs were played on, however differently they were scored.

    images_before, images_after: positions of the K shared pictures, those of equal pixels. image, cells_before and
    cells_after: for each of C cells (a shared picture under one budget) its number among the K, and its (epsilon,
    image) positions, 2 x C.
    """

    images_before: Positions
    images_after: Positions
    image: Positions
    cells_before: Positions
    cells_after: Positions

    @property
    def images(self) -> int:
        return len(self.images_before)

    @cached_property
    def per_image(self) -> Positions:
        """How many cells each shared picture has, K."""
        return np.bincount(self.image, minlength=self.images)


def share_cells(before: Evidence, after: Evidence) -> SharedCells:
    """Pictures are the same where their pixels are, whatever they are called; a cell also has its budget."""
    images = _match_images(before.round.images, after.round.images)
    left, right = (np.array([pair[side] for pair in images], dtype=np.intp) for side in (0, 1))
    budgets_before, budgets_after = image_budgets(before.round)[:, left], image_budgets(after.round)[:, right]
    equal = budgets_before[:, None, :] == budgets_after[None, :, :]
    epsilon_before, epsilon_after, image = np.nonzero(equal)
    cells_before, cells_after = np.stack([epsilon_before, left[image]]), np.stack([epsilon_after, right[image]])
    return SharedCells(left, right, image, cells_before, cells_after)


def _match_images(before: Sequence[RoundImage], after: Sequence[RoundImage]) -> list[tuple[int, int]]:
    """In the order of their digests, which is the same whichever run comes first."""
    pairs = shared(match(before, after, lambda one: (one.id, one.clean), lambda one: one.clean))
    return sorted(pairs, key=lambda pair: (before[pair[0]].clean, *sorted([before[pair[0]].id, after[pair[1]].id])))


def cell_mask(shape: tuple[int, int], cells: Positions) -> Flags:
    """Bool E x N: true at `cells`."""
    mask = np.zeros(shape, dtype=bool)
    mask[cells[0], cells[1]] = True
    return mask
