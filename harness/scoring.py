"""The one scoring core: from the score table, under a rule set, to points for every image.

Sources of the rule sets: the 2017 competition's development toolkit (`nips17-dev`) and its evaluation
(`nips17-final`), as they were published with cleverhans; `fair` is ours.
"""

from dataclasses import dataclass

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
    where there was none. valid: bool A x E x N, whether the attack's own image was taken. clean: int32 D x N.
    true_labels, target_classes: int32 N.
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


@dataclass(frozen=True)
class Points:
    """What counts, for every answer, under one rule set; bool A x E x D x N each.

    correct: a point for the defense. fooled: a point for an untargeted attack. hit: a point for a targeted one.
    for_defenses: bool A, attacks that defenses are scored on; for_attacks: bool D, likewise.
    """

    correct: Flags
    fooled: Flags
    hit: Flags
    for_defenses: Flags
    for_attacks: Flags


def count_points(table: ScoreTable, rules: str) -> Points:
    """Applies a rule set of POLICIES to the table. Raises: ValueError where there is no such rule set."""
    if rules not in POLICIES:
        raise ValueError(f"no rule set {rules!r}; there are {', '.join(POLICIES)}")
    correct, fooled, hit = (np.empty(table.labels.shape, dtype=bool) for _ in range(3))
    attacks, defenses = np.ones(len(table.attacks), dtype=bool), np.ones(len(table.defenses), dtype=bool)
    for attack, labels in enumerate(table.labels):  # one at a time: what is between stays small
        shown = table.valid[attack, :, None, :] | (rules == "fair")
        answered = labels >= 0
        correct[attack] = (labels == table.true_labels) & shown
        hit[attack] = (labels == table.target_classes) & shown
        missed = labels != UNKNOWN if rules == "nips17-dev" else answered & shown
        fooled[attack] = missed & ~correct[attack]
        if rules == "nips17-final":
            attacks[attack] = shown.all()
            defenses &= (answered | ~shown).all(axis=(0, 2))
    return Points(correct, fooled, hit, attacks, defenses)


def ranks(scores: npt.NDArray[np.int64]) -> list[int]:
    """1 for the highest; equal scores share a rank and the next one is left out (1, 2, 2, 4)."""
    return [1 + int(np.count_nonzero(scores > score)) for score in scores]
