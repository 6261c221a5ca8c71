"""One row for each submission of two runs: where it stood and stands, by how much its score moved, and due to what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.diff.causes import identity
from harness.diff.match import Entrant, Field, SharedCells
from harness.diff.own import Inputs, failed_calls, own_answers, own_images
from harness.diff.parts import INNER, MICRO, Core, Part, Parts, in_micro, inner_parts, narrowing, outer_parts
from harness.diff.views import Side, view_of
from harness.records import Role
from harness.scoring import Flags
from harness.statistics.bootstrap import Weights, ratios
from harness.statistics.ranking import paired_tests

PLACE = ("rank", "rank_interval", "tier", "score", "normalised", "interval")
"""What a row repeats of the boards of the two runs."""

COMPARED = ("rank_change", "rank_intervals_overlap", "change", "parts", "like_with_like", "own")
"""What only a row of a submission in both runs has; null in the others."""

DIGITS = 6

Row = dict[str, Any]


@dataclass(frozen=True)
class Two:
    """Two runs and what they share. weights: of the shared pictures. inputs: see `shared_inputs`."""

    sides: tuple[Side, Side]
    fields: Mapping[Role, Field]
    cells: SharedCells
    weights: Weights
    inputs: Inputs

    def opponents(self, role: Role) -> list[tuple[Entrant, Entrant]]:
        """Those that a submission of this role meets in both runs."""
        others = (Role.ATTACK, Role.TARGETED_ATTACK) if role is Role.DEFENSE else (Role.DEFENSE,)
        return [pair for other in others for pair in self.fields[other].both]


def rows_of(two: Two, role: Role) -> list[Row]:
    """All of one role, by their new rank and name; who is gone comes last, by the old one."""
    field = two.fields[role]
    both = [_both(two, before, after) for before, after in field.both]
    added = [_one(two.sides[1], one, "added") for one in field.added]
    removed = [_one(two.sides[0], one, "removed") for one in field.removed]
    return sorted(both + added, key=lambda row: (row["after"]["rank"], row["name"])) + sorted(
        removed, key=lambda row: (row["before"]["rank"], row["name"])
    )


def _one(side: Side, one: Entrant, status: str) -> Row:
    """Who is in one run alone has a place there, and nothing to compare."""
    place = {"before": None, "after": None} | {("after" if status == "added" else "before"): _place(side, one)}
    return {"name": one.name, "status": status, "renamed_from": None} | place | dict.fromkeys(COMPARED)


def _both(two: Two, before: Entrant, after: Entrant) -> Row:
    old, new = (_place(side, one) for side, one in zip(two.sides, (before, after), strict=True))
    (best_old, worst_old), (best_new, worst_new) = old["rank_interval"], new["rank_interval"]
    whole = round(new["normalised"] * MICRO) - round(old["normalised"] * MICRO)
    exact, core = core_of(two, before, after)
    parts = in_micro(exact, whole)
    compared = (
        new["rank"] - old["rank"],
        best_old <= worst_new and best_new <= worst_old,
        whole / MICRO,
        {part.value: parts[part] / MICRO for part in Part},
        _like_with_like(two, core),
        _own(two, before, after),
    )
    renamed = before.name if before.name != after.name else None
    row: Row = {"name": after.name, "status": "both", "renamed_from": renamed, "before": old, "after": new}
    return row | dict(zip(COMPARED, compared, strict=True))


def _place(side: Side, one: Entrant) -> Row:
    return {key: side.rows[one.who][key] for key in PLACE}


def core_of(two: Two, before: Entrant, after: Entrant) -> tuple[Parts, Core]:
    """The exact parts of a submission's change from its score before to that after, and what both runs played alike."""
    pairs, cells, role = two.opponents(after.role), two.cells, after.role
    views = view_of(two.sides[0], role, before.position), view_of(two.sides[1], role, after.position)
    old, new = (np.array([pair[side].position for pair in pairs], dtype=np.intp) for side in (0, 1))
    defenses = [(before, after)] * len(pairs) if role is Role.DEFENSE else pairs
    steady = np.array([one.player == other.player for one, other in defenses], dtype=bool)
    core = Core(views[0].core(old, cells.cells_before), views[1].core(new, cells.cells_after), steady)
    outer = outer_parts(
        narrowing(views[0], old, cells.images_before, cells.cells_before),
        narrowing(views[1], new, cells.images_after, cells.cells_after),
    )
    return outer | inner_parts(core), core


def _like_with_like(two: Two, core: Core) -> Row | None:
    """The difference on common opponents and shared cells, every picture against itself."""
    ends: tuple[frozenset[Part], frozenset[Part]] = (frozenset(), frozenset(INNER))
    used = core.used(ends[0]) & core.used(ends[1])
    possible = int(used.sum()) * two.cells.per_image
    played = possible > 0
    if not played.any():
        return None
    points = np.stack([_by_image(core.won(end)[used], two.cells)[played] for end in ends])
    weights = two.weights if played.all() else two.weights[:, played]
    value, low, high = ratios((points[1] - points[0])[None], possible[played], weights, least=-1)[0]
    before, after = points.sum(axis=1) / possible.sum()
    return {
        "opponents": int(used.sum()),
        "images": int(played.sum()),
        "before": round(float(before), DIGITS),
        "after": round(float(after), DIGITS),
        "difference": round(float(value), DIGITS),
        "interval": [round(float(low), DIGITS), round(float(high), DIGITS)],
        "p": round(float(paired_tests(points, int(possible.max()))[0, 1]), DIGITS),
        "p_adjusted": None,
    }


def _by_image(won: Flags, cells: SharedCells) -> npt.NDArray[np.int64]:
    return np.bincount(cells.image, weights=won.sum(axis=0), minlength=cells.images).astype(np.int64)


def _own(two: Two, before: Entrant, after: Entrant) -> Row:
    evidences = two.sides[0].evidence, two.sides[1].evidence
    if after.role is Role.DEFENSE:
        own = own_answers(*evidences, before, after, two.inputs)
    else:
        own = own_images(*evidences, before, after, two.cells)
    return {
        "differs_in": identity(before, after),
        "submission": {"before": before.submission, "after": after.submission},
        "container": {"before": before.container, "after": after.container},
        **own.plain(),
        "failed_calls": {
            "before": failed_calls(evidences[0], before.player),
            "after": failed_calls(evidences[1], after.player),
        },
    }
