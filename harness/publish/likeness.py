"""Who is nearly the same as whom among the submissions of one side, as tables and as named pairs of clones."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.publish.similarity import Similarity
from harness.scoring import ScoreTable
from harness.statistics.clones import (
    SAME_DIRECTION,
    SAME_ERRORS,
    Matrix,
    agreement,
    kappas,
    mean_cosines,
    pairs_from,
    same_errors,
)

DIGITS = 6

Row = dict[str, Any]


@dataclass(frozen=True)
class Likeness:
    """names: S. measures: S x S each, by name. judged: the one that names clones, from `threshold` on.

    counted: what it was looked at, and on how many. No measures: nobody looked.
    """

    names: tuple[str, ...]
    measures: Mapping[str, Matrix]
    judged: str
    threshold: float
    counted: dict[str, Any]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The clones by position, the most alike first."""
        return pairs_from(self.measures[self.judged], self.threshold) if self.measures else []

    def clones(self) -> list[Row]:
        """A row for each pair of `pairs`, with all that is known about it."""
        return [
            {"one": self.names[one], "other": self.names[other]}
            | {name: _number(values[one, other]) for name, values in self.measures.items()}
            | self.counted
            for one, other in self.pairs
        ]

    def row(self) -> Row:
        """The whole tables; null where there was nothing to compare."""
        tables: Row = {
            name: [[_number(value) for value in line] for line in table] for name, table in self.measures.items()
        }
        return {"names": list(self.names), "judged": self.judged, "threshold": self.threshold} | self.counted | tables


def attack_likeness(table: ScoreTable, similarity: Similarity | None) -> Likeness:
    """Cosines of perturbations; without measures where nobody looked at the pixels."""
    if similarity is None:
        return Likeness(table.attacks, {}, "cosine", SAME_DIRECTION, {"images": 0, "epsilon": None})
    cosines = mean_cosines(similarity.products)
    counted = {"images": len(similarity.images), "epsilon": similarity.epsilon}
    return Likeness(table.attacks, {"cosine": cosines}, "cosine", SAME_DIRECTION, counted)


def defense_likeness(table: ScoreTable) -> Likeness:
    """Agreement of answers on all adversarial images."""
    shape = table.labels.shape
    answers = shape[0] * shape[1] * shape[3]
    if not (answers and table.defenses):
        return Likeness(table.defenses, {}, "same_errors", SAME_ERRORS, {"answers": 0})
    labels = table.labels.transpose(2, 0, 1, 3).reshape(-1, answers)
    right = (table.labels == table.true_labels).transpose(2, 0, 1, 3).reshape(-1, answers)
    agreed = agreement(labels)
    measures = {"agreement": agreed, "kappa": kappas(labels, agreed), "same_errors": same_errors(right, agreed)}
    return Likeness(table.defenses, measures, "same_errors", SAME_ERRORS, {"answers": answers})


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), DIGITS)
