"""What moved between two runs and why: one plain JSON value, a function of their evidence alone."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from harness.diff.causes import (
    Cause,
    Kind,
    grouped,
    of_provenance,
    of_rounds,
    of_submissions,
    of_unavailable,
    other_labels,
    other_pixels,
)
from harness.diff.match import match_field, share_cells
from harness.diff.own import shared_inputs
from harness.diff.rows import DIGITS, Row, Two, rows_of
from harness.diff.views import ROLES, Side, make_side
from harness.publish.evidence import Evidence
from harness.records import Role
from harness.statistics.bootstrap import CONFIDENCE, DRAWS, draw_images
from harness.statistics.ranking import ALPHA, holm

SCHEMA_VERSION = 1
"""Raised when a key goes or means something else; a reader passes over keys that it does not know."""

SEED = 0
"""Of the bootstrap: neither run's own, so that the result does not depend on which of them comes first."""

MARKS = ("rank", "score", "significant", "any")
"""What a gate can ask for; see `_moved`."""


INTERVALS = "paired Bayesian bootstrap over shared images, half an unseen image at either end"
TESTS = "paired t-tests over shared images and a whole unseen one, Holm-adjusted over all rows"


def build_diff(before: Evidence, after: Evidence, rules: str | None = None) -> Row:
    """Compares two runs, each counted by its own rules, or both by `rules`; docs/diff.md describes each key."""
    two = share(before, after, rules)
    rankings = {role: rows_of(two, role) for role in ROLES}
    rows = [row for ranking in rankings.values() for row in ranking]
    _adjust([row["like_with_like"] for row in rows if row["like_with_like"]])
    causes = [cause.plain() for cause in grouped([*_causes(two), *_chance(rankings)])]
    return {
        "schema_version": SCHEMA_VERSION,
        "before": _about(two.sides[0]),
        "after": _about(two.sides[1]),
        "moved": _moved(rows, causes),
        "causes": causes,
        "shared": _shared(two),
        "intervals": {"confidence": CONFIDENCE, "draws": DRAWS, "method": INTERVALS},
        "tests": {"alpha": ALPHA, "method": TESTS},
        **{key: rankings[role] for role, key in ROLES.items()},
    }


def share(before: Evidence, after: Evidence, rules: str | None) -> Two:
    """Both runs, each counted by its own rules or both by `rules`, and what they have in common."""
    first, second = rules or before.round.rules, rules or after.round.rules
    cells = share_cells(before, after)
    fields = {role: match_field(before, after, role) for role in ROLES}
    sides = make_side(before, first, second), make_side(after, second, first)
    return Two(sides, fields, cells, draw_images(cells.images, SEED), shared_inputs(before, after))


def _causes(two: Two) -> Iterator[Cause]:
    before, after = two.sides[0].evidence, two.sides[1].evidence
    for field in two.fields.values():
        yield from of_submissions(field)
    yield from of_unavailable(before.round, after.round)
    yield from of_rounds(before, after, two.cells)
    if two.sides[0].rules != two.sides[1].rules:
        yield Cause(Kind.RULES, two.sides[0].rules, two.sides[1].rules)
    yield from of_provenance(before, after)


def _chance(rankings: Mapping[Role, list[Row]]) -> Iterator[Cause]:
    """Who did not do the same although everything was."""
    for role, rows in rankings.items():
        for row in rows:
            if row["own"] and row["own"]["by_chance"]:
                yield Cause(Kind.CHANCE, submissions=((role, row["name"]),))


def _about(side: Side) -> Row:
    round_, holes = side.evidence.round, side.evidence.table.holes
    return {
        "tournament": round_.tournament,
        "dataset": {"name": round_.dataset, "digest": round_.dataset_digest, "images": len(round_.images)},
        "rules": side.rules,
        "epsilons": list(round_.epsilons),
        "complete": holes == 0,
        "missing_answers": holes,
    }


def _shared(two: Two) -> dict[str, int]:
    before, after = two.sides[0].evidence, two.sides[1].evidence
    true, target = other_labels(before, after, two.cells)
    return {
        "images": two.cells.images,
        "only_before": len(before.round.images) - two.cells.images,
        "only_after": len(after.round.images) - two.cells.images,
        "other_pixels": other_pixels(before.round, after.round),
        "other_true_labels": true,
        "other_target_classes": target,
    }


def _moved(rows: list[Row], causes: list[dict[str, Any]]) -> dict[str, bool]:
    """rank: somebody came, went, or has another rank; score: or another score; significant: a like-with-like difference
    that is more than chance; any: or anything else is different.
    """
    rank = any(row["status"] != "both" or row["rank_change"] for row in rows)
    score = rank or any(row["change"] for row in rows)
    alike = [row["like_with_like"] for row in rows if row["like_with_like"]]
    parts = any(value for row in rows for value in (row["parts"] or {}).values())
    significant = any(one["p_adjusted"] <= ALPHA for one in alike)
    found = rank, score, significant, score or significant or parts or bool(causes)
    return dict(zip(MARKS, found, strict=True))


def _adjust(alike: list[Row]) -> None:
    adjusted = holm(np.array([one["p"] for one in alike], dtype=float))
    for one, value in zip(alike, adjusted, strict=True):
        one["p_adjusted"] = round(float(value), DIGITS)
