"""The report beside the board: costs, who is worth them, clones, what ranks depend on, images, curves over budgets."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.assembly import image_budgets
from harness.publish.costs import cost_rows
from harness.publish.evidence import Evidence
from harness.publish.likeness import Likeness, attack_likeness, defense_likeness
from harness.records import Role
from harness.scoring import UNKNOWN, Flags, Points, ScoreTable, count_points, ranks
from harness.statistics.bootstrap import Estimates, Weights, draw_images, ratios
from harness.statistics.clones import groups
from harness.statistics.curves import at_budget
from harness.statistics.difficulty import difficulty, label_suspects, lost_to_best
from harness.statistics.pareto import front
from harness.statistics.stability import kendall_tau, ranks_of_groups, ranks_without
from harness.statistics.wins import Wins, attack_wins, defense_wins

SCHEMA_VERSION = 1
"""Raised when a key goes or means something else; a reader passes over keys that it does not know."""

DIGITS = 6

Row = dict[str, Any]

SIDES = {Role.ATTACK: "attacks", Role.TARGETED_ATTACK: "targeted_attacks", Role.DEFENSE: "defenses"}
"""What the lists of each role are called, on the board and here."""


@dataclass(frozen=True)
class Field:
    """A round under its rules, and the points of each role, their names in the order of the table."""

    table: ScoreTable
    points: Points
    wins: Mapping[Role, Wins]


def build_report(evidence: Evidence) -> Row:
    """Plain JSON, a function of the evidence alone; docs/statistics.md explains every key."""
    round_, table = evidence.round, evidence.table
    field = field_of(table, count_points(table, round_.rules))
    weights = draw_images(len(table.images), round_.seed)
    costs = cost_rows(round_, evidence.ledger, evidence.provenance, _scores(field))
    attacks, defenses = attack_likeness(table, evidence.similarity), defense_likeness(table)
    return {
        "schema_version": SCHEMA_VERSION,
        "tournament": round_.tournament,
        "rules": round_.rules,
        "complete": table.holes == 0,
        "costs": costs,
        "pareto": _mark_fronts(costs),
        "clones": {"attacks": attacks.clones(), "defenses": defenses.clones()},
        "likeness": {"attacks": attacks.row(), "defenses": defenses.row()},
        "stability": _stability(field, attacks, defenses),
        "images": _images(field),
        "curves": _curves(field, round_.rules, image_budgets(round_), weights),
    }


def field_of(table: ScoreTable, points: Points) -> Field:
    wins = {
        Role.ATTACK: attack_wins(table, points, targeted=False),
        Role.TARGETED_ATTACK: attack_wins(table, points, targeted=True),
        Role.DEFENSE: defense_wins(table, points),
    }
    return Field(table, points, wins)


def _scores(field: Field) -> dict[tuple[Role, str], float]:
    """The share of points of each submission, as on the board."""
    return {
        (role, name): float(points / max(wins.possible * wins.by_image.shape[1], 1))
        for role, wins in field.wins.items()
        for name, points in zip(wins.names, wins.by_image.sum(axis=1), strict=True)
    }


def _mark_fronts(costs: list[Row]) -> list[str]:
    """Notes in each row whether it is on the front of its role; the names of those that are, in the rows' order."""
    for role in SIDES:
        rows = [row for row in costs if row["type"] == role]
        best = front([row["score"] for row in rows], [row["seconds_per_100_images"] for row in rows])
        for place, row in enumerate(rows):
            row["on_front"] = place in best
    return [row["name"] for row in costs if row["on_front"]]


# --- what ranks depend on


def _stability(field: Field, attacks: Likeness, defenses: Likeness) -> Row:
    """For each role, what its ranks are without one opponent or competitor, and where clones count once."""
    table, points = field.table, field.points
    kinds = [Role.ATTACK] * table.untargeted + [Role.TARGETED_ATTACK] * (len(table.attacks) - table.untargeted)
    left_out: list[Row] = []
    rows: Row = {}
    for role, wins in field.wins.items():
        met, opponents, used = (
            (attacks, kinds, points.for_defenses)
            if role is Role.DEFENSE
            else (defenses, [Role.DEFENSE] * len(table.defenses), points.for_attacks)
        )
        places = np.flatnonzero(used)
        group = groups(len(opponents), met.pairs)
        rows[SIDES[role]] = _rank_rows(wins, [group[place] for place in places])
        left_out += _opponents_left_out(wins, role, [opponents[place] for place in places])
    return rows | {"left_out": left_out}


def _rank_rows(wins: Wins, group: Sequence[int]) -> list[Row]:
    if not wins.opponents:
        return []
    placed = ranks(wins.by_image.sum(axis=1))
    without, once = ranks_without(wins.by_opponent), ranks_of_groups(wins.by_opponent, group)
    return [
        {
            "name": name,
            "rank": rank,
            "without_one_opponent": [int(others.min()), int(others.max())] if len(wins.opponents) > 1 else None,
            "decisive_opponents": [wins.opponents[place] for place in np.flatnonzero(others != rank)]
            if len(wins.opponents) > 1
            else [],
            "without_one_competitor": _without_competitor(rank, len(placed)),
            "clones_counted_once": int(single),
        }
        for name, rank, others, single in zip(wins.names, placed, without, once, strict=True)
    ]


def _without_competitor(rank: int, count: int) -> list[int] | None:
    """The best and the worst rank where one of the others is gone: a better one moves it up, no other moves it."""
    better, rest = rank - 1, count - rank
    return [rank - bool(better), rank if rest else rank - 1] if count > 1 else None


def _opponents_left_out(wins: Wins, role: Role, kinds: Sequence[Role]) -> list[Row]:
    """For each opponent, how far the ranking without it agrees with the whole one."""
    if len(wins.opponents) < 2 or len(wins.names) < 2:
        return []
    placed = np.array(ranks(wins.by_image.sum(axis=1)))
    return [
        {
            "name": name,
            "type": kind.value,
            "ranking": SIDES[role],
            "kendall_tau": _number(kendall_tau(placed, others)),
            "largest_move": int(np.abs(others - placed).max()),
        }
        for name, kind, others in zip(wins.opponents, kinds, ranks_without(wins.by_opponent).T, strict=True)
    ]


# --- images


def _images(field: Field) -> list[Row]:
    """An answer that is not known yet is no wrong one."""
    table, correct = field.table, field.points.correct[...]
    known = table.labels != UNKNOWN
    clean = (table.clean == table.true_labels)[None, None]
    lost = lost_to_best(correct, known)
    shares = difficulty(correct, known), difficulty(correct, known & clean), lost
    suspects = {one.image: one for one in label_suspects(table.clean, table.true_labels)}
    return [
        {
            "image": name,
            "difficulty": _number(hard),
            "difficulty_where_clean_correct": _number(conditional),
            "lost_to_best": _number(best),
            "undefended": bool(best == 1),
            "suspect": {"label": suspects[place].label, "votes": suspects[place].votes} if place in suspects else None,
        }
        for place, (name, hard, conditional, best) in enumerate(zip(table.images, *shares, strict=True))
    ]


# --- curves


def _curves(field: Field, rules: str, budgets: npt.NDArray[np.int16], weights: Weights) -> Row:
    """Shares of points at each budget. At 0 nobody attacks: the clean images, the same for all attacks of a kind."""
    spent = [int(budget) for budget in np.unique(budgets)]
    clean = clean_field(field, rules)
    return {"budgets": [0, *spent]} | {
        SIDES[role]: _role_curves(role, wins, clean.wins[role], budgets, spent, weights)
        for role, wins in field.wins.items()
    }


def clean_field(field: Field, rules: str) -> Field:
    """The round of one attack, of either kind, that changes nothing; against those that count in `field`."""
    table = field.table
    wins: dict[Role, Wins] = {}
    for untargeted, roles in ((1, (Role.ATTACK, Role.DEFENSE)), (0, (Role.TARGETED_ATTACK,))):
        nobody = replace(
            table,
            attacks=("clean",),
            untargeted=untargeted,
            epsilons=("0",),
            labels=table.clean[None, None],
            valid=np.ones((1, 1, len(table.images)), dtype=bool),
        )
        points = replace(count_points(nobody, rules), for_attacks=field.points.for_attacks)
        wins |= {role: field_of(nobody, points).wins[role] for role in roles}
    return Field(table, field.points, wins)


def _role_curves(
    role: Role, wins: Wins, clean: Wins, budgets: npt.NDArray[np.int16], spent: Iterable[int], weights: Weights
) -> list[Row]:
    if not wins.names or not wins.opponents:
        return []
    at_rest = _points_at(role, clean, np.ones((1, budgets.shape[1]), dtype=bool), weights)
    at = [_points_at(role, wins, budgets == budget, weights) for budget in spent]
    return [
        {"name": name}
        | {key: [at_rest[key][place % len(clean.names)], *(one[key][place] for one in at)] for key in at_rest}
        for place, name in enumerate(wins.names)
    ]


def _points_at(role: Role, wins: Wins, played: Flags, weights: Weights) -> dict[str, list[Any]]:
    """By key, what each submission has at one budget."""
    found = at_budget(wins, played, weights)
    columns: dict[str, list[Any]] = {
        "mean": _estimates(found.mean),
        "worst": _estimates(found.worst),
        "worst_opponent": [wins.opponents[place] for place in found.hardest],
        "every": _estimates(found.every),
    }
    if role is Role.DEFENSE:
        return columns
    right = wins.clean_correct
    above = (wins.won[...] & right[None, :, None, :] & played).sum(axis=(1, 2))
    return columns | {"where_clean_correct": _estimates(ratios(above, right.sum(axis=0) * played.sum(axis=0), weights))}


def _estimates(found: Estimates) -> list[Row | None]:
    return [
        None if math.isnan(value) else {"normalised": _number(value), "interval": [_number(low), _number(high)]}
        for value, low, high in found
    ]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), DIGITS)
