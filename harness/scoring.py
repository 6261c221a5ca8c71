"""The one scoring core: from the score table, under a rule set, to points for every image.

Sources of the rule sets: the 2017 competition's development toolkit (`nips17-dev`) and its evaluation
(`nips17-final`), as they were published with cleverhans; `fair` is ours.
"""

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

NO_ANSWER = -1
"""In place of a label where the defense gave none that counts."""

UNKNOWN = -2
"""In place of a label where the defense was not asked yet: the round is incomplete. It is a point for nobody."""

Labels = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

POLICIES = {
    "fair": "An absent or invalid adversarial image is replaced by the clean image. An absent label is wrong for "
    "the defense and earns no attack anything.",
    "nips17-dev": "As the 2017 toolkit counted: an absent adversarial image is shown to no defense and counts as "
    "fooled for the attack; an absent label is wrong for the defense and counts as fooled for the attack.",
    "nips17-final": "As the 2017 evaluation counted: defenses are scored on attacks with every image, attacks on "
    "defenses with every label; what is absent counts for nobody.",
}


@dataclass(frozen=True)
class ScoreTable:
    """Every answer of a round.

    attacks, defenses, epsilons, images: the names on the four axes, A, D, E and N long; the first `untargeted`
    attacks are untargeted. labels: int32 A x E x D x N, the answer on the attack's image, or on the clean one
    where there was none; it may lie in a file. valid: bool A x E x N, whether the attack's own image was taken. clean:
    int32 D x N. true_labels, target_classes: int32 N.
    """

    attacks: tuple[str, ...]
    untargeted: int
    defenses: tuple[str, ...]
    epsilons: tuple[str, ...]
    images: tuple[str, ...]
    labels: Labels
    valid: Flags
    clean: Labels
    true_labels: Labels
    target_classes: Labels

    @property
    def holes(self) -> int:
        """How many answers are not known yet."""
        return int(self.count(UNKNOWN).sum() + np.count_nonzero(self.clean == UNKNOWN))

    def count(self, answer: int) -> Counts:
        """How often each defense (columns) gave this answer to each attack (rows): int32 A x D."""
        counts = np.zeros((len(self.attacks), len(self.defenses)), dtype=np.int32)
        for attack, labels in enumerate(self.labels):
            counts[attack] = np.count_nonzero(labels == answer, axis=(0, 2))
        return counts


def let_go(labels: Labels) -> None:
    """Of labels that lie in a file no page stays in memory; they are read again where somebody looks."""
    pages = getattr(labels, "_mmap", None)  # of numpy's memmap, and of all that are parts of one
    if isinstance(pages, mmap.mmap):
        pages.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Bits:
    """Flags, eight to a byte along the last axis, which has `length` of them. packed: uint8."""

    packed: npt.NDArray[np.uint8]
    length: int

    @property
    def shape(self) -> tuple[int, ...]:
        return *self.packed.shape[:-1], self.length

    def __getitem__(self, place: Any) -> Flags:
        """As an array's, along all axes but the last; `...` for all flags."""
        return np.unpackbits(self.packed[place], axis=-1, count=self.length).view(np.bool_)

    def counts(self) -> npt.NDArray[np.int64]:
        """How many are set along the last axis."""
        return np.asarray(np.bitwise_count(self.packed).sum(axis=-1, dtype=np.int64))


def add_up(flags: Flags) -> Counts:
    """How many are set along the first axis: int32. Bytes are added, as far as they hold, which is far faster."""
    sums = np.zeros(flags.shape[1:], dtype=np.int32)
    for start in range(0, len(flags), 255):
        sums += flags[start : start + 255].view(np.uint8).sum(axis=0, dtype=np.uint8)
    return sums


@dataclass(frozen=True)
class Points:
    """What counts, for every answer, under one rule set; A x E x D x N each.

    correct: a point for the defense. fooled: a point for an untargeted attack. hit: a point for a targeted one.
    known: whether the defense was asked. silent: int32 A x D, how often it gave no answer that counts.
    for_defenses: bool A, attacks that defenses are scored on; for_attacks: bool D, likewise.
    """

    correct: Bits
    fooled: Bits
    hit: Bits
    known: Bits
    silent: Counts
    for_defenses: Flags
    for_attacks: Flags


def count_points(table: ScoreTable, rules: str) -> Points:
    """Applies a rule set of POLICIES to the table. Raises: ValueError where there is no such rule set."""
    if rules not in POLICIES:
        raise ValueError(f"no rule set {rules!r}; there are {', '.join(POLICIES)}")
    shown = table.valid | (rules == "fair")
    points = _no_points(table, np.asarray(shown.all(axis=(1, 2)) | (rules != "nips17-final")))
    for defense in range(len(table.defenses)):  # one at a time: what is between stays small
        labels = table.labels[:, :, defense]
        answered, known = labels >= 0, labels != UNKNOWN
        correct = (labels == table.true_labels) & shown
        fooled = (known if rules == "nips17-dev" else answered & shown) & ~correct
        hit = (labels == table.target_classes) & shown
        for bits, flags in (
            (points.correct, correct), (points.fooled, fooled), (points.hit, hit), (points.known, known)
        ):  # fmt: skip
            bits.packed[:, :, defense] = np.packbits(flags, axis=-1)
        points.silent[:, defense] = np.count_nonzero(known & ~answered, axis=(1, 2))
        points.for_attacks[defense] = rules != "nips17-final" or bool((answered | ~shown).all())
        let_go(labels)
    return points


def _no_points(table: ScoreTable, for_defenses: Flags) -> Points:
    *axes, images = table.labels.shape
    correct, fooled, hit, known = (Bits(np.empty((*axes, -(-images // 8)), np.uint8), images) for _ in range(4))
    silent = np.zeros((len(table.attacks), len(table.defenses)), dtype=np.int32)
    return Points(correct, fooled, hit, known, silent, for_defenses, np.ones(len(table.defenses), dtype=bool))


def ranks(scores: npt.NDArray[np.int64]) -> list[int]:
    """1 for the highest; equal scores share a rank and the next one is left out (1, 2, 2, 4)."""
    return [1 + int(np.count_nonzero(scores > score)) for score in scores]
