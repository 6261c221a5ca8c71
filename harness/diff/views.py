"""One run as a comparison looks at it: a submission against its opponents, whole or on what two runs share."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from harness.diff.match import Positions
from harness.leaderboard import build_leaderboard
from harness.publish.evidence import Evidence
from harness.records import Role
from harness.scoring import Flags, Labels, ScoreTable, count_points

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Side:
    """One run of the two. used: by rule set of either run, which attacks score defenses and which defenses attacks.
    rows: of its board, by role and name.
    """

    evidence: Evidence
    rules: str
    rows: dict[tuple[Role, str], dict[str, Any]]
    used: dict[str, tuple[Flags, Flags]]


ROLES = {Role.DEFENSE: "defenses", Role.ATTACK: "attacks", Role.TARGETED_ATTACK: "targeted_attacks"}
"""Under which key a board has the ranking of each role."""


def make_side(evidence: Evidence, rules: str, other_rules: str) -> Side:
    """rules: by which this run counts; other_rules: by which the other one does."""
    board = build_leaderboard(evidence.round, evidence.table, evidence.audits, rules)
    rows = {(role, row["name"]): row for role, key in ROLES.items() for row in board[key]}
    used = {}
    for name in (rules, other_rules):
        points = count_points(evidence.table, name)
        used[name] = points.for_defenses, points.for_attacks
    return Side(evidence, rules, rows, used)


@dataclass(frozen=True)
class View:
    """A submission against all O opponents of its run.

    labels int32, valid bool, digests object: O x E x N each, or O x C of the core. true, target: int32 N, or C.
    used: by rule set, bool O: whether the opponent counts.
    """

    role: Role
    rules: str
    labels: Labels
    valid: Flags
    digests: npt.NDArray[np.object_]
    true: Labels
    target: Labels
    used: dict[str, Flags]

    def won(self, rules: str) -> Flags:
        """Points of the submission, shape of `labels`."""
        return points_of(self.role, self.labels, self.valid, self.true, self.target, rules)

    def core(self, opponents: Positions, cells: Positions) -> "View":
        """Against some opponents on some (epsilon, image) cells, 2 x C."""
        labels, digests = _at(self.labels, opponents, cells), _at(self.digests, opponents, cells)
        used = {rules: flags[opponents] for rules, flags in self.used.items()}
        true, target = self.true[cells[1]], self.target[cells[1]]
        return View(self.role, self.rules, labels, _at(self.valid, opponents, cells), digests, true, target, used)


def view_of(side: Side, role: Role, position: int) -> View:
    """position: among all attacks, untargeted ones first, or among the defenses."""
    table, audits = side.evidence.table, side.evidence.audits
    if role is Role.DEFENSE:
        labels, valid, digests = table.labels[:, :, position], table.valid, audits.digests
    else:
        labels = table.labels[position].transpose(1, 0, 2)
        valid = np.broadcast_to(table.valid[position], labels.shape)
        digests = np.broadcast_to(audits.digests[position], labels.shape)
    used = {rules: flags[role is not Role.DEFENSE] for rules, flags in side.used.items()}
    return View(role, side.rules, labels, valid, digests, table.true_labels, table.target_classes, used)


def points_of(role: Role, labels: Labels, valid: Flags, true: Labels, target: Labels, rules: str) -> Flags:
    """Points for answers of any shape; the last axis of `true` and `target` is that of `labels`.

    Whether an opponent counts at all is not decided here.
    """
    table = ScoreTable(
        attacks=("",),
        untargeted=1,
        defenses=("",),
        epsilons=("",),
        images=("",) * labels.size,
        labels=labels.reshape(1, 1, 1, -1),
        valid=valid.reshape(1, 1, -1),
        clean=np.zeros((1, labels.size), dtype=np.int32),
        true_labels=np.broadcast_to(true, labels.shape).reshape(-1),
        target_classes=np.broadcast_to(target, labels.shape).reshape(-1),
    )
    points = count_points(table, rules)
    won = {Role.DEFENSE: points.correct, Role.ATTACK: points.fooled, Role.TARGETED_ATTACK: points.hit}[role]
    return won[...].reshape(labels.shape)


def _at(values: npt.NDArray[Scalar], opponents: Positions, cells: Positions) -> npt.NDArray[Scalar]:
    """O x C of O x E x N."""
    return np.asarray(values[opponents[:, None], cells[0][None], cells[1][None]])
