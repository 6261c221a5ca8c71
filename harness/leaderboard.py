"""The leaderboard: a plain JSON value, the same bytes for the same store, whoever computes it and when."""

import itertools
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.assembly import AttackAudits, Measures, count_faults, image_budgets
from harness.round import Round
from harness.scoring import POLICIES, UNKNOWN, Flags, Points, ScoreTable, add_up, count_points, ranks
from harness.statistics.bootstrap import CONFIDENCE, DRAWS, Weights, draw_images, ratios
from harness.statistics.difficulty import label_suspects, undefended
from harness.statistics.game import bradley_terry, solve_game
from harness.statistics.hardest import worst_opponents
from harness.statistics.ranking import ALPHA, adjusted_tests, images_to_separate, rank_intervals, tiers
from harness.statistics.stability import ranks_without
from harness.statistics.wins import Wins, attack_wins, defense_wins

SCHEMA_VERSION = 2
"""Raised when a key goes or means something else; a reader passes over keys that it does not know."""

DIGITS = 6

INTERVALS = "paired Bayesian bootstrap over images, half an unseen image at either end"
WORST_CASES = (
    "binomial, half an unseen image at either end, the upper end Bonferroni-adjusted over the opponents that may be "
    "the hardest"
)
TIERS = (
    "paired t-tests over images and a whole unseen one, Holm-adjusted over all pairs; "
    "a tier ends where all above differ from all below"
)

Row = dict[str, Any]
Columns = dict[str, list[Any]]
"""A key of the rows, and its value for each submission, by its position in the table."""

Extras = Callable[[int], Row]
"""What the rows of one role have besides what all have, by the submission's position in the table."""


def build_leaderboard(round_: Round, table: ScoreTable, audits: AttackAudits, rules: str) -> Row:
    """Ranks the round under `rules`. Scores are counts; `normalised` is their share of what was possible."""
    points = count_points(table, rules)
    holes = _holes(table, points)
    missing = sum(hole["missing_answers"] for hole in holes)
    weights, budgets = draw_images(len(table.images), round_.seed), image_budgets(round_)
    defenses = defense_wins(table, points)
    untargeted, targeted = (attack_wins(table, points, targeted=kind) for kind in (False, True))
    return {
        "schema_version": SCHEMA_VERSION,
        "tournament": round_.tournament,
        "complete": missing == 0,
        "missing_answers": missing,
        "holes": holes,
        "rules": rules,
        "missing_output_policy": POLICIES[rules],
        "dataset": {"name": round_.dataset, "digest": round_.dataset_digest, "images": len(table.images)},
        "epsilons": list(table.epsilons),
        "seed": round_.seed,
        "intervals": {"confidence": CONFIDENCE, "draws": DRAWS, "method": INTERVALS, "worst_case": WORST_CASES},
        "tiers": {"alpha": ALPHA, "method": TIERS},
        "defenses": _rows(defenses, weights, budgets, _of_defense(round_, points, defenses, weights)),
        "attacks": _rows(untargeted, weights, budgets, _of_attack(round_, audits, untargeted, weights, first=0)),
        "targeted_attacks": _rows(
            targeted, weights, budgets, _of_attack(round_, audits, targeted, weights, first=table.untargeted)
        ),
        "unavailable": [asdict(one) for one in round_.unavailable],
        "game": _game(untargeted),
        "images": _images(table, points),
        "matrices": _matrices(table, points),
    }


def _holes(table: ScoreTable, points: Points) -> list[Row]:
    """Which answers are not known: how many of each pair that lacks some; attack None: on the clean images."""
    asked = len(table.epsilons) * len(table.images)
    unknown = np.vstack([(table.clean == UNKNOWN).sum(axis=1), asked - points.known.counts().sum(axis=1)])
    attacks = (None, *table.attacks)
    return [
        {"attack": attacks[row], "defense": table.defenses[column], "missing_answers": int(unknown[row, column])}
        for row, column in np.argwhere(unknown)
    ]


def _rows(wins: Wins, weights: Weights, budgets: npt.NDArray[np.int16], extras: Extras) -> list[Row]:
    """The submissions of one role, by rank, then name."""
    if not wins.names:
        return []
    scores = wins.by_image.sum(axis=1)
    placed = ranks(scores)
    order = sorted(range(len(placed)), key=lambda number: (placed[number], wins.names[number]))
    columns = _scores(wins, scores, weights) | _places(wins, scores, order) | _against(wins, weights, budgets)
    names = {"rank": placed, "name": wins.names}
    return [{key: values[number] for key, values in (names | columns).items()} | extras(number) for number in order]


def _scores(wins: Wins, scores: npt.NDArray[np.integer], weights: Weights) -> Columns:
    shares = ratios(wins.by_image, np.full(wins.by_image.shape[1], wins.possible), weights)
    shares[np.isnan(shares[:, 0])] = 0, 0, 1  # no opponent: nothing is known
    return {
        "score": scores.tolist(),
        "normalised": [_share(value) for value in shares[:, 0]],
        "interval": [[_share(low), _share(high)] for low, high in shares[:, 1:]],
    }


def _places(wins: Wins, scores: npt.NDArray[np.integer], order: list[int]) -> Columns:
    """What the rank is worth: which others cannot be told from it, and what it depends on."""
    tests = adjusted_tests(wins.by_image, wins.possible)
    needed = images_to_separate(wins.by_image, wins.possible)
    following = dict(itertools.pairwise(order))
    without = ranks_without(wins.by_opponent)
    return {
        "tier": tiers(scores, tests),
        "rank_interval": rank_intervals(scores, tests).tolist(),
        "images_to_next": [
            _count(needed[number, following[number]]) if number in following else None for number in range(len(order))
        ],
        "rank_without_one_opponent": [[int(row.min()), int(row.max())] if row.size > 1 else None for row in without],
    }


def _against(wins: Wins, weights: Weights, budgets: npt.NDArray[np.int16]) -> Columns:
    """Shares of points by opponent and by epsilon, however budgets (E x N) were dealt out."""
    count = len(wins.names)
    if not wins.opponents:
        return {"worst_case": [None] * count, "every_opponent": [None] * count, "per_epsilon": [{}] * count}
    hardest, which = worst_opponents(wins)
    every = ratios(wins.by_image == wins.possible, np.ones(budgets.shape[1]), weights)
    by_budget = {}
    for budget in np.unique(budgets):
        there = budgets == budget
        won, times = (wins.by_epsilon * there).sum(axis=1), there.sum(axis=0)
        by_budget[str(budget)] = ratios(won, times * len(wins.opponents), weights)
    return {
        "worst_case": [
            {"opponent": wins.opponents[opponent]} | (_estimate(share) or {})
            for opponent, share in zip(which, hardest, strict=True)
        ],
        "every_opponent": [_estimate(share) for share in every],
        "per_epsilon": [
            {budget: _estimate(shares[number]) for budget, shares in by_budget.items()} for number in range(count)
        ],
    }


def _of_defense(round_: Round, points: Points, wins: Wins, weights: Weights) -> Extras:
    clean = ratios(wins.clean_correct, np.ones(len(round_.images)), weights)
    missing = points.silent.sum(axis=0)
    return lambda number: {
        "submission": round_.defenses[number].submission,
        "clean_accuracy": _estimate(clean[number]),
        "missing_labels": int(missing[number]),
    }


def _of_attack(round_: Round, audits: AttackAudits, wins: Wins, weights: Weights, first: int) -> Extras:
    """first: the position of the kind's first attack among all."""
    right, taken = wins.clean_correct, audits.valid
    won = [add_up(wins.won[number] & right[:, None, :]).sum(axis=0) for number in range(len(wins.names))]
    shares = ratios(np.reshape(won, (-1, right.shape[1])), right.sum(axis=0) * wins.won.shape[2], weights)
    return lambda number: {
        "submission": round_.attacks[first + number].submission,
        "success_where_clean_correct": _estimate(shares[number]),
        "perturbation": _perturbation(audits.measures_of(first + number), taken[first + number]),
        "faults": count_faults(audits.faults_of(first + number)),
    }


def _perturbation(measured: Measures, taken: Flags) -> Row:
    """Means over the images that were taken, on the 0..255 scale; the raw maximum is over all of them."""
    measures = {name: values[taken] for name, values in measured.items()}
    if not taken.any():
        return {}
    means = {f"mean_{name}": _share(measures[name].mean()) for name in ("linf", "l2")}
    return means | {
        "mean_abs": _share(measures["mean_abs"].mean()),
        "max_raw_linf": int(measures["raw_linf"].max()),
        "clipped_values": int(measures["clipped"].sum()),
    }


def _game(wins: Wins) -> Row | None:
    """Untargeted attacks against defenses as one game; None where a side is missing."""
    if not (wins.names and wins.opponents):
        return None
    played = wins.won.shape[2] * wins.won.shape[3]
    equilibrium = solve_game(wins.by_opponent / played)
    strengths = bradley_terry(wins.by_opponent, np.full(wins.by_opponent.shape, played))
    attacks, defenses = equilibrium.attacks, equilibrium.defenses
    return {
        "value": _share(equilibrium.value),
        "attack_mixture": dict(zip(wins.names, map(_share, attacks), strict=True)),
        "defense_mixture": dict(zip(wins.opponents, map(_share, defenses), strict=True)),
        "attack_strengths": dict(zip(wins.names, map(_share, strengths.attacks), strict=True)),
        "defense_strengths": dict(zip(wins.opponents, map(_share, strengths.defenses), strict=True)),
    }


def _images(table: ScoreTable, points: Points) -> Row:
    suspects = label_suspects(table.clean, table.true_labels)
    return {
        "undefended": [table.images[image] for image in undefended(points.correct, points.known)],
        "label_suspects": [asdict(one) | {"image": table.images[one.image]} for one in suspects],
    }


def _matrices(table: ScoreTable, points: Points) -> Row:
    """Counts over images and epsilons, rows attacks, columns defenses, as in the 2017 toolkit's files."""
    correct, hits = (bits.counts().sum(axis=1) for bits in (points.correct, points.hit))
    return {
        "accuracy_on_attacks": correct[: table.untargeted].tolist(),
        "accuracy_on_targeted_attacks": correct[table.untargeted :].tolist(),
        "hit_target_class": hits[table.untargeted :].tolist(),
        "attacks": list(table.attacks[: table.untargeted]),
        "targeted_attacks": list(table.attacks[table.untargeted :]),
        "defenses": list(table.defenses),
    }


def _estimate(found: npt.NDArray[np.float64]) -> Row | None:
    """None where there was nothing to count."""
    if math.isnan(found[0]):
        return None
    value, low, high = map(_share, found)
    return {"normalised": value, "interval": [low, high]}


def _count(images: float) -> int | None:
    return int(images) if math.isfinite(images) else None


def _share(value: Any) -> float:
    return round(float(value), DIGITS) + 0.0  # no -0.0
