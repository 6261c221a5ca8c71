"""The leaderboard: a plain JSON value, the same bytes for the same store, whoever computes it and when."""

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.assembly import AuditTable, count_faults, image_budgets
from harness.round import Round
from harness.scoring import (
    NO_ANSWER,
    POLICIES,
    UNKNOWN,
    Flags,
    Points,
    ScoreTable,
    attack_points,
    count_points,
    defense_points,
    ranks,
)
from harness.stats import CONFIDENCE, DRAWS, bootstrap_intervals

SCHEMA_VERSION = 1
"""Raised when a key goes or means something else; a reader passes over keys that it does not know."""

DIGITS = 6

Row = dict[str, Any]


def build_leaderboard(round_: Round, table: ScoreTable, audits: AuditTable, rules: str) -> Row:
    """Ranks the round under `rules`. Scores are counts; `normalised` is their share of what was possible."""
    points = count_points(table, rules)
    return {
        "schema_version": SCHEMA_VERSION,
        "tournament": round_.tournament,
        "complete": table.holes == 0,
        "missing_answers": table.holes,
        "holes": _holes(table),
        "rules": rules,
        "missing_output_policy": POLICIES[rules],
        "dataset": {"name": round_.dataset, "digest": round_.dataset_digest, "images": len(table.images)},
        "epsilons": list(table.epsilons),
        "seed": round_.seed,
        "intervals": {"confidence": CONFIDENCE, "draws": DRAWS, "method": "paired bootstrap over images"},
        "defenses": _defense_rows(round_, table, points),
        "attacks": _attack_rows(round_, table, points, audits, targeted=False),
        "targeted_attacks": _attack_rows(round_, table, points, audits, targeted=True),
        "unavailable": [asdict(one) for one in round_.unavailable],
        "matrices": _matrices(table, points),
    }


def _holes(table: ScoreTable) -> list[Row]:
    """Which answers are not known: how many of each pair that lacks some; attack None: on the clean images."""
    unknown = np.concatenate([(table.clean == UNKNOWN)[None], (table.labels == UNKNOWN).sum(axis=1)]).sum(axis=-1)
    attacks = (None, *table.attacks)
    return [
        {"attack": attacks[row], "defense": table.defenses[column], "missing_answers": int(unknown[row, column])}
        for row, column in np.argwhere(unknown)
    ]


def _defense_rows(round_: Round, table: ScoreTable, points: Points) -> list[Row]:
    by_image = defense_points(points)
    possible = int(points.for_defenses.sum()) * len(table.epsilons)
    counted = points.correct[points.for_defenses]
    budgets = image_budgets(round_)
    opponents = [name for name, used in zip(table.attacks, points.for_defenses, strict=True) if used]
    against = counted.mean(axis=(1, 3)) if len(opponents) else np.zeros((0, len(table.defenses)))
    rows = [
        {
            "name": defense.name,
            "submission": defense.submission,
            "clean_accuracy": _share((table.clean[number] == table.true_labels).mean()),
            "per_epsilon": _per_epsilon(budgets, counted[:, :, number, :]),
            "worst_case": _hardest(against[:, number], opponents),
            "missing_labels": int(np.count_nonzero(table.labels[:, :, number, :] == NO_ANSWER)),
        }
        for number, defense in enumerate(round_.defenses)
    ]
    return _ranked(rows, by_image, possible, round_.seed)


def _attack_rows(round_: Round, table: ScoreTable, points: Points, audits: AuditTable, *, targeted: bool) -> list[Row]:
    kind = slice(table.untargeted, None) if targeted else slice(0, table.untargeted)
    won = (points.hit if targeted else points.fooled)[kind]
    opponents = [name for name, used in zip(table.defenses, points.for_attacks, strict=True) if used]
    counted, budgets = won[:, :, points.for_attacks, :], image_budgets(round_)
    rows = [
        {
            "name": attack.name,
            "submission": attack.submission,
            "success_where_clean_correct": _success_where_clean_correct(table, won[number]),
            "per_epsilon": _per_epsilon(budgets, counted[number].transpose(1, 0, 2)),
            "worst_case": _hardest(counted[number].mean(axis=(0, 2)) if opponents else np.zeros(0), opponents),
            "perturbation": _perturbation(audits, kind.start + number),
            "faults": count_faults(audits.faults[kind.start + number]),
        }
        for number, attack in enumerate(round_.attacks[kind])
    ]
    possible = int(points.for_attacks.sum()) * len(table.epsilons)
    return _ranked(rows, attack_points(won, points), possible, round_.seed)


def _ranked(rows: list[Row], by_image: npt.NDArray[np.int64], possible: int, seed: int) -> list[Row]:
    """Adds rank, score and interval, and sorts by rank, then name. possible: most points for one image."""
    scores = by_image.sum(axis=1)
    intervals = bootstrap_intervals(by_image, seed)
    scale = 1 / possible if possible else 0.0
    images = by_image.shape[1]
    ranked = [
        {
            "rank": rank,
            "name": row["name"],
            "score": int(score),
            "normalised": _share(score * scale / images),
            "interval": [_share(bound * scale) for bound in interval],
        }
        | row
        for row, rank, score, interval in zip(rows, ranks(scores), scores, intervals, strict=True)
    ]
    return sorted(ranked, key=lambda row: (row["rank"], row["name"]))


def _success_where_clean_correct(table: ScoreTable, won: Flags) -> float | None:
    """Share of (epsilon, defense, image) won, where the defense labels the clean image correctly."""
    counted = np.broadcast_to(table.clean == table.true_labels, won.shape)
    return _share(won[counted].mean()) if counted.any() else None


def _hardest(shares: npt.NDArray[np.float64], opponents: list[str]) -> Row | None:
    if not opponents:
        return None
    number = int(shares.argmin())
    return {"opponent": opponents[number], "normalised": _share(shares[number])}


def _per_epsilon(budgets: npt.NDArray[np.int16], won: Flags) -> dict[str, float]:
    """The share won at each budget, however budgets were dealt out. budgets: E x N. won: opponents x E x N."""
    if not len(won):
        return {}
    return {str(budget): _share(won[:, budgets == budget].mean()) for budget in np.unique(budgets)}


def _perturbation(audits: AuditTable, attack: int) -> Row:
    """Means over the images that were taken, on the 0..255 scale; the raw maximum is over all of them."""
    taken = (audits.digests[attack] != "") & (audits.faults[attack] == "")
    measures = {name: values[attack][taken] for name, values in audits.measures.items()}
    if not taken.any():
        return {}
    means = {f"mean_{name}": _share(measures[name].mean()) for name in ("linf", "l2")}
    return means | {
        "mean_abs": _share(measures["mean_abs"].mean()),
        "max_raw_linf": int(measures["raw_linf"].max()),
        "clipped_values": int(measures["clipped"].sum()),
    }


def _matrices(table: ScoreTable, points: Points) -> Row:
    """Counts over images and epsilons, rows attacks, columns defenses, as in the 2017 toolkit's files."""
    correct = points.correct.sum(axis=(1, 3))
    hits = points.hit.sum(axis=(1, 3))
    return {
        "accuracy_on_attacks": correct[: table.untargeted].tolist(),
        "accuracy_on_targeted_attacks": correct[table.untargeted :].tolist(),
        "hit_target_class": hits[table.untargeted :].tolist(),
        "attacks": list(table.attacks[: table.untargeted]),
        "targeted_attacks": list(table.attacks[table.untargeted :]),
        "defenses": list(table.defenses),
    }


def _share(value: Any) -> float:
    return round(float(value), DIGITS)
