"""The figures of a publication, each as SVG and PNG on a white ground, and as SVG on a dark one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Drawing

from harness.publish.evidence import Evidence
from harness.publish.plots import words
from harness.publish.plots.budget import budget_plot
from harness.publish.plots.cost import cost_plot
from harness.publish.plots.forest import rank_plot
from harness.publish.plots.heatmap import heat_map
from harness.publish.plots.profile import difficulty_plot, game_plot
from harness.publish.plots.style import CSS_DPI, LIGHT, Theme, look, write_figure
from harness.records import Role
from harness.statistics.clones import order_by_likeness

__all__ = ["Figure", "draw"]

Board = Mapping[str, Any]
Matrix = npt.NDArray[np.float64]

SIDES = {"defenses": Role.DEFENSE, "attacks": Role.ATTACK, "targeted_attacks": Role.TARGETED_ATTACK}
SPOKEN = {"defenses": "defenses", "attacks": "attacks", "targeted_attacks": "targeted attacks"}

AGAINST_DEFENSES = {"mean": "mean over defenses", "worst": "hardest defense", "every": "all defenses at once"}
AGAINST_ATTACKS = {"mean": "mean over attacks", "worst": "hardest attack", "every": "best attack of each image"}

CURVES = {
    "defenses": ("accuracy (%)", AGAINST_ATTACKS),
    "attacks": ("answers that are wrong (%)", AGAINST_DEFENSES),
    "targeted_attacks": ("target class hit (%)", AGAINST_DEFENSES),
}
"""Of each side's curves: the axis, and what the lines are called."""


@dataclass(frozen=True)
class Figure:
    """A drawing: STEM.svg and STEM.png on a white ground, STEM-dark.svg on a dark one.

    title: for the page, not in the drawing. alt: its main finding in words; the names in it are as strangers wrote
    them, but for what cannot be shown. width, height: in pixels of CSS.
    """

    stem: str
    title: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Plan:
    """A figure that is still to be painted on its ground."""

    stem: str
    title: str
    alt: str
    paint: Callable[[Theme], Drawing]


def draw(evidence: Evidence, board: Board, report: Board, folder: Path) -> list[Figure]:
    """Writes the figures that the round gives reason for into `folder`, which is made where it is missing.

    The same evidence gives the same bytes with the same versions of matplotlib, its fonts and numpy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_paint(plan, folder) for plan in _plans(board, report)]


def _paint(plan: Plan, folder: Path) -> Figure:
    with look(LIGHT):
        drawing = plan.paint(LIGHT)
        write_figure(drawing, folder, plan.stem)
    width, height = (round(inches * CSS_DPI) for inches in drawing.get_size_inches())
    return Figure(plan.stem, plan.title, plan.alt, width, height)


def _plans(board: Board, report: Board) -> Iterator[Plan]:
    yield from _matrices(board)
    for side, role in SIDES.items():
        yield from _ranks(side, role, board[side])
    for side, role in SIDES.items():
        yield from _curves(side, role, report["curves"], [row["name"] for row in board[side]])
    for side, role in SIDES.items():
        yield from _costs(side, role, report["costs"])
    yield from _images(report["images"])
    for side in ("attacks", "defenses"):
        yield from _likeness(side, report["likeness"][side])
    yield from _game(board["game"])


def _matrices(board: Board) -> Iterator[Plan]:
    """Rows and columns by rank, and the clean images above all."""
    attacks, targeted, defenses = (_by_rank(board, side) for side in ("attacks", "targeted_attacks", "defenses"))
    if not defenses or not (attacks or targeted):
        return
    accuracy = np.vstack([
        _ordered(board, "accuracy_on_attacks", "attacks", attacks, defenses),
        _ordered(board, "accuracy_on_targeted_attacks", "targeted_attacks", targeted, defenses),
    ])  # fmt: skip
    clean = {row["name"]: (row["clean_accuracy"] or {}).get("normalised", np.nan) for row in board["defenses"]}
    values = np.vstack([[clean[name] for name in defenses], accuracy])
    rows = ["no attack", *attacks, *(f"{name} (targeted)" for name in targeted)]
    alt = words.about_accuracy(accuracy, [*attacks, *targeted], defenses)
    yield Plan(
        "accuracy", "Accuracy of each defense under each attack", alt,
        lambda theme: heat_map(theme, values, rows, defenses, "correct answers (%)"),
    )  # fmt: skip
    if targeted:
        hits = _ordered(board, "hit_target_class", "targeted_attacks", targeted, defenses)
        yield Plan(
            "hits", "Hits of each targeted attack against each defense", words.about_hits(hits, targeted, defenses),
            lambda theme: heat_map(theme, hits, targeted, defenses, "target class hit (%)"),
        )  # fmt: skip


def _by_rank(board: Board, side: str) -> list[str]:
    return [row["name"] for row in board[side]]


def _ordered(board: Board, matrix: str, side: str, rows: Sequence[str], columns: Sequence[str]) -> Matrix:
    """Shares of a matrix of counts, in the order of these names."""
    matrices = board["matrices"]
    most = board["dataset"]["images"] * len(board["epsilons"])
    counts = np.array(matrices[matrix], dtype=float).reshape(len(rows), len(columns))
    places = [
        [names.index(name) for name in wanted]
        for names, wanted in ((matrices[side], rows), (matrices["defenses"], columns))
    ]
    return np.asarray(counts[np.ix_(*places)] / most)


def _ranks(side: str, role: Role, rows: Sequence[Board]) -> Iterator[Plan]:
    if rows:
        yield Plan(
            f"ranks-{_stem(side)}", f"Scores and ranks of {SPOKEN[side]}", words.about_ranks(side, rows),
            lambda theme: rank_plot(theme, theme.colours[role], rows),
        )  # fmt: skip


def _curves(side: str, role: Role, curves: Board, order: Sequence[str]) -> Iterator[Plan]:
    """Only where there is more than one budget to compare."""
    budgets = curves["budgets"]
    rows = sorted(curves[side], key=lambda row: order.index(row["name"]))
    if len(budgets) > 2 and rows:
        label, lines = CURVES[side]
        yield Plan(
            f"epsilon-{_stem(side)}", f"Budget and {label.removesuffix(' (%)')}: {SPOKEN[side]}",
            words.about_curves(side, budgets, rows),
            lambda theme: budget_plot(theme, theme.colours[role], budgets, rows, lines, label),
        )  # fmt: skip


def _costs(side: str, role: Role, costs: Sequence[Board]) -> Iterator[Plan]:
    rows = [row for row in costs if row["type"] == role and row["seconds_per_100_images"]]
    if len(rows) > 1:
        yield Plan(
            f"cost-{_stem(side)}", f"Score against time: {SPOKEN[side]}", words.about_costs(side, rows),
            lambda theme: cost_plot(theme, theme.colours[role], rows),
        )  # fmt: skip


def _images(rows: Sequence[Board]) -> Iterator[Plan]:
    known = [(row["difficulty"], row["lost_to_best"]) for row in rows if row["difficulty"] is not None]
    if known:
        average, best = zip(*known, strict=True)
        yield Plan(
            "difficulty", "How hard the images are", words.about_images(average, best),
            lambda theme: difficulty_plot(theme, average, best),
        )  # fmt: skip


def _likeness(side: str, table: Board) -> Iterator[Plan]:
    """Those that are alike stand together."""
    if len(table["names"]) < 2 or table["judged"] not in table:
        return
    values = np.array(table[table["judged"]], dtype=float)
    order = order_by_likeness(values)
    names, low = [table["names"][place] for place in order], min(0.0, float(np.nanmin(values, initial=0)))
    label = "mean cosine (x 100)" if side == "attacks" else "errors in common (%)"
    title = "How alike the attacks' perturbations are" if side == "attacks" else "How alike the defenses' errors are"
    yield Plan(
        f"likeness-{side}", title, words.about_likeness(side, table),
        lambda theme: heat_map(theme, values[np.ix_(order, order)], names, names, label, low),
    )  # fmt: skip


def _game(game: Board | None) -> Iterator[Plan]:
    if game:
        yield Plan(
            "game", "How attacks and defenses would mix at their best", words.about_game(game),
            lambda theme: game_plot(theme, game["attack_mixture"], game["defense_mixture"]),
        )  # fmt: skip


def _stem(side: str) -> str:
    return side.replace("_", "-")
