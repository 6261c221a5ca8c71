"""From a round and what the index knows to the score table and the audit of every attack."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.index import Index
from harness.records import Fault
from harness.round import Round
from harness.rows import AUDIT, FAULTS, Audits, Numbers
from harness.scoring import UNKNOWN, Flags, Labels, ScoreTable

AUDIT_COLUMNS = ("raw_linf", "clipped", "linf", "l2", "mean_abs")

Texts = npt.NDArray[np.object_]

Measures = dict[str, npt.NDArray[np.float64]]
"""By AUDIT_COLUMNS."""


class AttackAudits(Protocol):
    """What the attacks wrote, one attack after the other."""

    @property
    def valid(self) -> Flags:
        """Whether an image of the attack's own was taken: bool A x E x N."""

    def digests_of(self, attack: int) -> Texts:
        """Canonical digests, '' where unknown: E x N."""

    def faults_of(self, attack: int) -> Texts:
        """Names of faults, '' where there was none: E x N."""

    def measures_of(self, attack: int) -> Measures:
        """E x N each."""


@dataclass(frozen=True)
class AuditTable:
    """All of it in memory, A x E x N each; see `AttackAudits`."""

    digests: Texts
    faults: Texts
    measures: Measures

    @property
    def valid(self) -> Flags:
        return np.asarray((self.digests != "") & (self.faults == ""))

    def digests_of(self, attack: int) -> Texts:
        return np.asarray(self.digests[attack])

    def faults_of(self, attack: int) -> Texts:
        return np.asarray(self.faults[attack])

    def measures_of(self, attack: int) -> Measures:
        return {column: values[attack] for column, values in self.measures.items()}


class StoredAudits:
    """The same for a round of any size, 5 bytes an image: the rest is read where it is asked for.

    numbers: of the images, by the index, 0 where unknown: A x E x N.
    """

    def __init__(self, round_: Round, index: Index) -> None:
        self._round, self._index = round_, index
        shape = (len(round_.attacks), len(round_.epsilons), len(round_.images))
        self.numbers, self._faults = np.zeros(shape, dtype=np.uint32), np.zeros(shape, dtype=np.uint8)
        for attack in range(len(round_.attacks)):
            rows = self._rows(attack)
            self.numbers[attack], self._faults[attack] = rows["image"], rows["fault"]

    @property
    def valid(self) -> Flags:
        return np.asarray((self.numbers != 0) & (self._faults == 0))

    def digests_of(self, attack: int) -> Texts:
        distinct, codes = np.unique(self.numbers[attack], return_inverse=True)
        return np.array(_digests(self._index, distinct), dtype=object)[codes.reshape(self.numbers.shape[1:])]

    def faults_of(self, attack: int) -> Texts:
        return np.asarray(np.array(["", *FAULTS], dtype=object)[self._faults[attack]])

    def measures_of(self, attack: int) -> Measures:
        rows = self._rows(attack)
        return {column: rows[column].astype(np.float64) for column in AUDIT_COLUMNS}

    def _rows(self, attack: int) -> Audits:
        """Of its calls that are known: E x N; zeros where there is none."""
        round_ = self._round
        rows = np.zeros((len(round_.epsilons), len(round_.images)), dtype=AUDIT)
        places: dict[str, list[tuple[int, int]]] = {}
        for epsilon, keys in enumerate(round_.attacks[attack].units):
            for batch, key in enumerate(keys):
                places.setdefault(key, []).append((epsilon, batch * round_.batch_size))
        for key, made in self._index.made(places):
            for epsilon, start in places[key]:
                rows[epsilon, start : start + round_.batch_size] = made
        return rows


def read_audits(round_: Round, index: Index) -> AuditTable:
    """The audits of all attack calls that are known."""
    stored = StoredAudits(round_, index)
    shape = stored.numbers.shape
    digests, faults = np.empty(shape, dtype=object), np.empty(shape, dtype=object)
    measures = {column: np.empty(shape) for column in AUDIT_COLUMNS}
    for attack in range(len(round_.attacks)):
        digests[attack], faults[attack] = stored.digests_of(attack), stored.faults_of(attack)
        for column, values in stored.measures_of(attack).items():
            measures[column][attack] = values
    return AuditTable(digests, faults, measures)


def _digests(index: Index, numbers: Numbers) -> list[str]:
    """Of sorted, different numbers; '' for 0."""
    none = int(np.count_nonzero(numbers == 0))
    return [""] * none + index.digests(numbers[none:])


def assemble(round_: Round, index: Index) -> ScoreTable:
    """The score table in memory; answers that are not known are UNKNOWN in it."""
    audits = StoredAudits(round_, index)
    answers = _in_memory(_answers(round_, index, audits), _shape(round_))
    return _table(round_, audits, answers)


def assemble_in_file(round_: Round, index: Index, audits: StoredAudits, folder: Path) -> ScoreTable:
    """The same for a round of any size: labels lie in a file without a name, in this folder. Raises: OSError."""
    shape = _shape(round_)
    answers = _answers(round_, index, audits)
    return _table(round_, audits, _in_file(answers, shape, folder) if np.prod(shape) else _in_memory(answers, shape))


def _answers(round_: Round, index: Index, audits: StoredAudits) -> Iterator[Labels]:
    """Of each defense, on the clean images and then on those of each attack and epsilon: (1 + A E) x N."""
    clean = index.numbers(image.clean for image in round_.images)
    numbers = np.vstack([clean, audits.numbers.reshape(-1, len(clean))])
    known = np.empty(index.last_image + 1, dtype=np.int32)
    for defense in round_.defenses:
        images, labels = index.answers(defense.player)
        known.fill(UNKNOWN)
        known[images] = labels
        known[0] = UNKNOWN
        yield known[numbers]


def _shape(round_: Round) -> tuple[int, int, int]:
    """Of the answers of all defenses."""
    return len(round_.defenses), 1 + len(round_.attacks) * len(round_.epsilons), len(round_.images)


def _in_memory(answers: Iterable[Labels], shape: tuple[int, ...]) -> Labels:
    table = np.empty(shape, dtype=np.int32)
    for number, labels in enumerate(answers):
        table[number] = labels
    return table


def _in_file(answers: Iterable[Labels], shape: tuple[int, ...], folder: Path) -> Labels:
    with tempfile.TemporaryFile(dir=folder) as file:
        for labels in answers:
            file.write(labels.data)
        file.flush()
        return np.memmap(file, np.int32, "r", shape=shape)


def _table(round_: Round, audits: AttackAudits, answers: Labels) -> ScoreTable:
    """answers: D x (1 + A E) x N, the clean images first."""
    defenses, _, images = answers.shape
    labels = answers[:, 1:].reshape(defenses, len(round_.attacks), len(round_.epsilons), images)
    return make_table(round_, audits, labels.transpose(1, 2, 0, 3), np.array(answers[:, 0]))


def make_table(round_: Round, audits: AttackAudits, labels: Labels, clean: Labels) -> ScoreTable:
    """The score table of a round. labels: A x E x D x N; clean: D x N."""
    return ScoreTable(
        attacks=tuple(attack.name for attack in round_.attacks),
        untargeted=sum(not attack.targeted for attack in round_.attacks),
        defenses=tuple(defense.name for defense in round_.defenses),
        epsilons=round_.epsilons,
        images=tuple(image.id for image in round_.images),
        labels=labels,
        valid=audits.valid,
        clean=clean,
        true_labels=np.array([image.true_label for image in round_.images], dtype=np.int32),
        target_classes=np.array([image.target_class for image in round_.images], dtype=np.int32),
    )


def image_budgets(round_: Round) -> npt.NDArray[np.int16]:
    """The budget that each image was attacked with on each position of the epsilon axis: int16 E x N, 0..255."""
    images = len(round_.images)
    each = np.repeat(np.array(round_.budgets, dtype=np.int16), min(round_.batch_size, images), axis=1)
    return each[:, :images]


def count_faults(faults: Texts) -> dict[str, int]:
    """How many images each kind of fault cost, kinds in the order of `records.Fault`."""
    return {fault.value: count for fault in Fault if (count := int(np.count_nonzero(faults == fault.value)))}
