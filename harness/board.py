"""The leaderboard on a terminal: who stands where, how sure that is, and in plain words what the columns mean."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from harness.errors import printable
from harness.grid import Column, aligned, fit
from harness.publish.cells import Board, shown

Row = dict[str, Any]

RANKINGS = (
    ("defenses", "Defenses: share of attacked images classified correctly", "clean", "clean_accuracy"),
    ("attacks", "Attacks: share of answers that are wrong", "correct", "success_where_clean_correct"),
    (
        "targeted_attacks",
        "Targeted attacks: share of answers that are the target",
        "correct",
        "success_where_clean_correct",
    ),
)
"""Key of the board, title, header and key of the column that only this kind has."""

TIER_STYLES = ("bold green", "cyan", "yellow", "magenta", "blue")
"""Of the first tiers; those after them are as the terminal writes."""

BAR = 21
"""Characters from 0 to 1."""

WORDS = {
    "95 %": "95 %: interval of the score",
    "ranks": "ranks: those that are possible, with 95 % confidence in all of them",
    "clean": "clean: accuracy on the clean images",
    "correct": "correct: score where the clean image is labelled correctly",
    "hardest": "hardest: score against the strongest opponent",
}
"""What stands below the tables, as far as the column is there."""

TIERS = "A broken line ends a tier: everybody above it can be told from everybody below"


@dataclass(frozen=True)
class Marks:
    """up: higher is better. line, point: of the bar. Plain ones where the terminal knows no others."""

    up: str = "↑"
    line: str = "─"
    point: str = "●"
    empty: str = "·"


ASCII = Marks("^", "-", "o", " ")


def show_board(console: Console, board: Board) -> None:
    """The three rankings, as wide as the window lets them be; one of nobody is left out."""
    marks = ASCII if console.options.ascii_only else Marks()
    rankings = [(title, board[key], share) for key, title, *share in RANKINGS if board[key]]
    tables = aligned([_columns(rows, share, marks) for _, rows, share in rankings])
    missing: dict[str, None] = {}
    for (title, rows, _), columns in zip(rankings, tables, strict=True):
        table, left_out = fit(console, columns, _last_of_tiers(rows))
        console.print(Text(title if board["complete"] else f"{title} (incomplete)", style="bold"))
        console.print(table)
        _explain(console, [*_separation(rows, board["dataset"]["images"]), ""])
        missing |= dict.fromkeys(left_out)
    headers = dict.fromkeys(column.header for table in tables for column in table)
    _explain(console, _legend([header for header in headers if header not in missing], list(missing), marks))


def _columns(rows: Sequence[Row], share: Sequence[str], marks: Marks) -> list[Column]:
    """In the order in which they stand; `drop` says which go first where there is no room for all."""
    styles = [_style(row["tier"]) for row in rows]
    names = [Text(printable(row["name"]), style=style) for row, style in zip(rows, styles, strict=True)]
    bars = [_bar(row, style, marks) for row, style in zip(rows, styles, strict=True)]
    worst = [row["worst_case"] for row in rows]
    return [
        Column("#", [str(row["rank"]) for row in rows], number=True),
        Column("name", names),
        Column(f"score {marks.up}", [Text(f"{row['normalised']:.3f}", style="bold") for row in rows], number=True),
        Column(f"0{'1':>{BAR - 1}}", bars, drop=6),
        Column("95 %", [_range(row["interval"], 3) for row in rows], number=True, drop=1),
        Column("ranks", [_range(row["rank_interval"]) for row in rows], number=True, drop=2),
        Column("tier", [Text(str(row["tier"]), style=style) for row, style in zip(rows, styles, strict=True)], True, 3),
        Column(f"{share[0]} {marks.up}", [shown(row[share[1]]) for row in rows], number=True, drop=4),
        Column(f"hardest {marks.up}", [shown(one) for one in worst], number=True, drop=5),
        Column("opponent", ["-" if one is None else one["opponent"] for one in worst], drop=7),
    ]


def _style(tier: int) -> str:
    return TIER_STYLES[tier - 1] if tier <= len(TIER_STYLES) else ""


def _range(ends: Sequence[float], digits: int = 0) -> str:
    """`3-5`, `0.100-0.250`; of a rank that is sure, `3`."""
    low, high = (f"{end:.{digits}f}" for end in ends)
    return low if low == high and not digits else f"{low}-{high}"


def _bar(row: Row, style: str, marks: Marks) -> Text:
    """The interval on the scale from 0 to 1, with the score on it."""
    low, score, high = (round(end * (BAR - 1)) for end in (row["interval"][0], row["normalised"], row["interval"][1]))
    bar = Text(marks.empty * low, style="dim")
    bar.append(marks.line * (score - low), style=f"not dim {style}")
    bar.append(marks.point, style=f"not dim bold {style}")
    bar.append(marks.line * (high - score), style=f"not dim {style}")
    return bar.append(marks.empty * (BAR - 1 - high))


def _last_of_tiers(rows: Sequence[Row]) -> set[int]:
    """After which rows the next is of another tier."""
    return {number for number, (row, below) in enumerate(itertools.pairwise(rows)) if row["tier"] != below["tier"]}


def _separation(rows: Sequence[Row], images: int) -> Iterator[str]:
    """What it would take to tell the first from the second, where they share a tier."""
    if len(rows) < 2 or rows[0]["tier"] != rows[1]["tier"]:
        return
    needed = rows[0]["images_to_next"]
    who = f"#{rows[0]['rank']} {rows[0]['name']} and #{rows[1]['rank']} {rows[1]['name']} share a tier"
    if rows[1]["rank_interval"][0] > 1:  # nobody but the first is before the second
        yield f"{who}: they are told apart, but the first not from all below it"
    elif rows[0]["rank"] == rows[1]["rank"]:
        yield f"{who}: on these {images} images there is no difference between them"
    elif needed is None:
        yield f"{who}: a single image says nothing of others"
    elif needed <= images:
        yield f"{who}: alone they could be told apart, among so many pairs they cannot"
    else:
        yield f"{who}: it would take about {needed} images to tell these two apart, {images} were played"


def _legend(shown: Sequence[str], left_out: Sequence[str], marks: Marks) -> Iterator[str]:
    """What the headers mean, and which had no room."""
    words = [WORDS[name] for name in (_bare(header, marks) for header in shown) if name in WORDS]
    yield ". ".join([f"{marks.up} higher is better", TIERS, *words]) + "."
    if left_out:
        names = ", ".join("bar" if header.startswith("0") else _bare(header, marks) for header in left_out)
        yield f"Not shown in this width: {names}; leaderboard.md and leaderboard.json have everything."


def _bare(header: str, marks: Marks) -> str:
    return header.removesuffix(f" {marks.up}")


def _explain(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(Text(printable(line), style="dim"))
