"""The rankings and the attack x defense tables of a page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.publish.cells import TITLES
from harness.publish.site.publication import Publication
from harness.publish.slugs import anchor, file_stem

Row = dict[str, Any]

ROLES = {"defenses": "defense", "attacks": "attack", "targeted_attacks": "targeted_attack"}

STEPS = 10
"""Shades of a heat map."""

MAX_CELL_PAGES = 2000


@dataclass(frozen=True)
class Ranking:
    """One table. rows: of the board, each with `id` and whether it `begins_tier`."""

    role: str
    title: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Cell:
    """value: share of what was possible; count: the same in points; page: from the tournament's folder, or None."""

    defense: str
    value: float
    count: int
    step: int
    page: str | None


MapRow = tuple[str, str | None, list[Cell], float]
"""An attack's name, its anchor (None: nobody attacked), its cells, and their mean."""


@dataclass(frozen=True)
class HeatMap:
    """A table of shares. possible: the points of each cell under attack; columns: (defense's name, its anchor)."""

    key: str
    title: str
    about: str
    possible: int
    columns: Sequence[tuple[str, str]]
    rows: Sequence[MapRow]


def rankings(publication: Publication) -> list[Ranking]:
    """The tables that have rows."""
    board = publication.board
    return [Ranking(role, TITLES[key], _rows(role, board[key])) for key, role in ROLES.items() if board[key]]


def _rows(role: str, rows: Sequence[Row]) -> list[Row]:
    tiers = [row["tier"] for row in rows]
    begins = [number == 0 or tiers[number - 1] != tier for number, tier in enumerate(tiers)]
    return [row | {"id": anchor(role, row["name"]), "begins_tier": new} for row, new in zip(rows, begins, strict=True)]


def cell_page(publication: Publication, role: str, attack: str, defense: str) -> str | None:
    """The page with the images of one attack against one defense; None where there are no pictures, or too many."""
    table = publication.evidence.table
    if not publication.gallery.images or len(table.attacks) * len(table.defenses) > MAX_CELL_PAGES:
        return None
    return f"gallery/{file_stem(role, attack, defense)}.html"


def heat_maps(publication: Publication) -> Iterator[HeatMap]:
    """Accuracy on attacks and on targeted attacks, and how often the target class was hit."""
    correct = "Share of images that the defense labels correctly."
    yield from _heat_map(publication, "accuracy_on_attacks", "attacks", "Accuracy under attack", correct)
    yield from _heat_map(
        publication, "accuracy_on_targeted_attacks", "targeted_attacks", "Accuracy under targeted attack", correct
    )
    yield from _heat_map(
        publication,
        "hit_target_class",
        "targeted_attacks",
        "Target class hit",
        "Share of images that the defense labels with the class that the attack aimed at.",
    )


def _heat_map(publication: Publication, key: str, attacks: str, title: str, about: str) -> Iterator[HeatMap]:
    matrices, role = publication.board["matrices"], ROLES[attacks]
    if not matrices[attacks] or not matrices["defenses"]:
        return
    possible = publication.board["dataset"]["images"] * len(publication.board["epsilons"])
    rows: list[MapRow] = [] if key == "hit_target_class" else [_undisturbed(publication)]
    for attack, counts in zip(matrices[attacks], matrices[key], strict=True):
        cells = [
            _cell(defense, count, possible, cell_page(publication, role, attack, defense))
            for defense, count in zip(matrices["defenses"], counts, strict=True)
        ]
        rows.append((attack, anchor(role, attack), cells, sum(counts) / (possible * len(counts))))
    columns = [(defense, anchor("defense", defense)) for defense in matrices["defenses"]]
    yield HeatMap(key, title, about, possible, columns, rows)


def _cell(defense: str, count: int, possible: int, page: str | None) -> Cell:
    value = count / possible
    return Cell(defense, value, count, min(count * STEPS // possible, STEPS - 1), page)


def _undisturbed(publication: Publication) -> tuple[str, None, list[Cell], float]:
    """The row of the clean images."""
    table = publication.evidence.table
    counts = (table.clean == table.true_labels).sum(axis=1).tolist()
    cells = [_cell(name, count, len(table.images), None) for name, count in zip(table.defenses, counts, strict=True)]
    return "no attack", None, cells, sum(counts) / (len(table.images) * len(counts))
