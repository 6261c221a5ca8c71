"""Who won what: one role's submissions against the other role's, from a score table under a rule set."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from harness.scoring import Bits, Counts, Flags, Points, ScoreTable, add_up


@dataclass(frozen=True)
class Wins:
    """The points of one role.

    names, opponents: S and O long. won: S x O x E x N over submissions, opponents, epsilons and images; of bits only
    those of one submission are unpacked at a time.
    clean_correct: bool, S x N for defenses (their own answers on clean images), O x N for attacks (the opponents').
    """

    names: tuple[str, ...]
    opponents: tuple[str, ...]
    won: Flags | Bits
    clean_correct: Flags

    @property
    def possible(self) -> int:
        """The most points that an image can give."""
        return int(self.won.shape[1] * self.won.shape[2])

    @cached_property
    def by_epsilon(self) -> Counts:
        """Points of each submission at each epsilon on each image: int32 S x E x N."""
        sums = np.empty((len(self.names), *self.won.shape[2:]), dtype=np.int32)
        for number, counts in enumerate(sums):
            counts[:] = add_up(self.won[number])
        return sums

    @cached_property
    def by_image(self) -> Counts:
        """Points of each submission on each image: int32 S x N."""
        return np.asarray(self.by_epsilon.sum(axis=1, dtype=np.int32))

    @cached_property
    def by_opponent(self) -> npt.NDArray[np.int64]:
        """Points of each submission against each opponent: int64 S x O."""
        sums = np.empty(self.won.shape[:2], dtype=np.int64)
        for number, counts in enumerate(sums):
            counts[:] = np.count_nonzero(self.won[number], axis=(1, 2))
        return sums


def defense_wins(table: ScoreTable, points: Points) -> Wins:
    """Correct answers of the defenses on the attacks that the rules score them on."""
    used = points.for_defenses
    packed = points.correct.packed if used.all() else points.correct.packed[used]
    won = Bits(packed.transpose(2, 0, 1, 3), points.correct.length)
    attacks = tuple(name for name, counts in zip(table.attacks, used, strict=True) if counts)
    return Wins(table.defenses, attacks, won, table.clean == table.true_labels)


def attack_wins(table: ScoreTable, points: Points, *, targeted: bool) -> Wins:
    """Images that untargeted attacks fooled a defense with, or that targeted attacks brought to the target class."""
    kind = slice(table.untargeted, None) if targeted else slice(0, table.untargeted)
    used = points.for_attacks
    won = points.hit if targeted else points.fooled
    packed = won.packed[kind].transpose(0, 2, 1, 3)
    defenses = tuple(name for name, counts in zip(table.defenses, used, strict=True) if counts)
    clean_correct = table.clean == table.true_labels
    if not used.all():
        packed, clean_correct = packed[:, used], clean_correct[used]
    return Wins(table.attacks[kind], defenses, Bits(packed, won.length), clean_correct)
