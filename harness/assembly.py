"""From a round and what the index knows to the score table and the audit of every attack."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.index import Index
from harness.records import Fault
from harness.round import Round
from harness.rows import FAULTS, Audits, Numbers
from harness.scoring import UNKNOWN, Labels, ScoreTable

AUDIT_COLUMNS = ("raw_linf", "clipped", "linf", "l2", "mean_abs")

Place = tuple[int, int, slice]
"""Positions on the axes of attacks, epsilons and images."""


@dataclass(frozen=True)
class AuditTable:
    """What the attacks wrote, A x E x N each. digests: object array of canonical digests ('' where unknown);
    faults: object array of fault names ('' where there was none); measures: float64 for each AUDIT_COLUMNS."""

    digests: npt.NDArray[np.object_]
    faults: npt.NDArray[np.object_]
    measures: dict[str, npt.NDArray[np.float64]]


def read_audits(round_: Round, index: Index) -> AuditTable:
    """The audits of all attack calls that are known."""
    shape = (len(round_.attacks), len(round_.epsilons), len(round_.images))
    numbers, faults = np.zeros(shape, dtype=np.uint32), np.zeros(shape, dtype=np.uint8)
    measures = {column: np.zeros(shape) for column in AUDIT_COLUMNS}
    for place, rows in _audits(round_, index):
        numbers[place], faults[place] = rows["image"], rows["fault"]
        for column, values in measures.items():
            values[place] = rows[column]
    distinct, codes = np.unique(numbers, return_inverse=True)
    digests = np.array(_digests(index, distinct), dtype=object)[codes.reshape(shape)]
    return AuditTable(digests, np.array(["", *FAULTS], dtype=object)[faults], measures)


def _digests(index: Index, numbers: Numbers) -> list[str]:
    """Of sorted, different numbers; '' for 0."""
    none = int(np.count_nonzero(numbers == 0))
    return [""] * none + index.digests(numbers[none:])


def _audits(round_: Round, index: Index) -> Iterator[tuple[Place, Audits]]:
    """Where they belong in the tables of a round, and the audits of each call that is known."""
    places: dict[str, list[Place]] = {}
    for row, attack in enumerate(round_.attacks):
        for column, keys in enumerate(attack.units):
            for batch, key in enumerate(keys):
                start = batch * round_.batch_size
                places.setdefault(key, []).append((row, column, slice(start, start + round_.batch_size)))
    for key, rows in index.made(places):
        for place in places[key]:
            yield place, rows


def assemble(round_: Round, index: Index, audits: AuditTable) -> ScoreTable:
    """The score table; answers that are not known are UNKNOWN in it."""
    shape = (len(round_.attacks), len(round_.epsilons), len(round_.images))
    numbers = np.zeros(shape, dtype=np.uint32)
    for place, rows in _audits(round_, index):
        numbers[place] = rows["image"]
    clean_numbers = index.numbers(image.clean for image in round_.images)
    labels = np.empty((*shape[:2], len(round_.defenses), shape[2]), dtype=np.int32)
    clean = np.empty((len(round_.defenses), shape[2]), dtype=np.int32)
    known = np.empty(index.last_image + 1, dtype=np.int32)
    for column, defense in enumerate(round_.defenses):
        images, answers = index.answers(defense.player)
        known.fill(UNKNOWN)
        known[images] = answers
        known[0] = UNKNOWN
        clean[column] = known[clean_numbers]
        for row in range(shape[0]):  # one at a time: what is between stays small
            labels[row, :, column] = known[numbers[row]]
    return make_table(round_, audits, labels, clean)


def make_table(round_: Round, audits: AuditTable, labels: Labels, clean: Labels) -> ScoreTable:
    """The score table of a round. labels: A x E x D x N; clean: D x N."""
    return ScoreTable(
        attacks=tuple(attack.name for attack in round_.attacks),
        untargeted=sum(not attack.targeted for attack in round_.attacks),
        defenses=tuple(defense.name for defense in round_.defenses),
        epsilons=round_.epsilons,
        images=tuple(image.id for image in round_.images),
        labels=labels,
        valid=(audits.digests != "") & (audits.faults == ""),
        clean=clean,
        true_labels=np.array([image.true_label for image in round_.images], dtype=np.int32),
        target_classes=np.array([image.target_class for image in round_.images], dtype=np.int32),
    )


def image_budgets(round_: Round) -> npt.NDArray[np.int16]:
    """The budget that each image was attacked with on each position of the epsilon axis: int16 E x N, 0..255."""
    images = len(round_.images)
    each = np.repeat(np.array(round_.budgets, dtype=np.int16), min(round_.batch_size, images), axis=1)
    return each[:, :images]


def count_faults(faults: npt.NDArray[np.object_]) -> dict[str, int]:
    """How many images each kind of fault cost, kinds in the order of `records.Fault`."""
    return {fault.value: count for fault in Fault if (count := int(np.count_nonzero(faults == fault.value)))}
