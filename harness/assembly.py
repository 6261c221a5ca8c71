"""From a round and what the index knows to the score table and the audit of every attack."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from harness.index import Index
from harness.records import Fault, ImageAudit
from harness.round import Round, RoundAttack
from harness.scoring import NO_ANSWER, UNKNOWN, Labels, ScoreTable

AUDIT_COLUMNS = ("raw_linf", "clipped", "linf", "l2", "mean_abs")


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
    table = AuditTable(
        np.full(shape, "", dtype=object),
        np.full(shape, "", dtype=object),
        {column: np.zeros(shape) for column in AUDIT_COLUMNS},
    )
    for row, attack in enumerate(round_.attacks):
        for column in range(len(round_.epsilons)):
            for position, audit in _audits_of(round_, index, attack, column):
                place = row, column, position
                table.digests[place] = audit.digest
                table.faults[place] = audit.fault or ""
                for name, values in table.measures.items():
                    values[place] = getattr(audit, name)
    return table


def _audits_of(round_: Round, index: Index, attack: RoundAttack, epsilon: int) -> list[tuple[int, ImageAudit]]:
    """(position in the round, audit) for each image of the calls that were made."""
    found = []
    for number, key in enumerate(attack.units[epsilon]):
        found += list(enumerate(index.audits(key), start=number * round_.batch_size))
    return found


def assemble(round_: Round, index: Index, audits: AuditTable) -> ScoreTable:
    """The score table; answers that are not known are UNKNOWN in it."""
    clean = np.array([image.clean for image in round_.images], dtype=object)
    digests, codes = np.unique(np.concatenate([clean, audits.digests.ravel()]), return_inverse=True)
    clean_codes, attack_codes = codes[: len(clean)], codes[len(clean) :].reshape(audits.digests.shape)
    names: list[str] = digests.tolist()
    labels = np.empty((*audits.digests.shape[:2], len(round_.defenses), len(clean)), dtype=np.int32)
    clean_labels = np.empty((len(round_.defenses), len(clean)), dtype=np.int32)
    for column, defense in enumerate(round_.defenses):
        answers = _answers(index.predictions(defense.player), names)
        labels[:, :, column, :] = answers[attack_codes]
        clean_labels[column] = answers[clean_codes]
    return make_table(round_, audits, labels, clean_labels)


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


def _answers(known: dict[str, int | None], digests: Sequence[str]) -> Labels:
    """One defense's answer for each digest, int32. The table may have a hundred million: the loops are in C."""
    values = list(map(known.get, digests, repeat(UNKNOWN)))
    if None in values:
        values = [NO_ANSWER if value is None else value for value in values]
    return np.array(values, dtype=np.int32)


def image_budgets(round_: Round) -> npt.NDArray[np.int16]:
    """The budget that each image was attacked with on each position of the epsilon axis: int16 E x N, 0..255."""
    images = len(round_.images)
    each = np.repeat(np.array(round_.budgets, dtype=np.int16), min(round_.batch_size, images), axis=1)
    return each[:, :images]


def count_faults(faults: npt.NDArray[np.object_]) -> dict[str, int]:
    """How many images each kind of fault cost, kinds in the order of `records.Fault`."""
    return {fault.value: count for fault in Fault if (count := int(np.count_nonzero(faults == fault.value)))}
