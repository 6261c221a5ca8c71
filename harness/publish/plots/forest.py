"""Scores with their intervals beside ranks with theirs, a line for each submission; tiers as bands."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.publish.plots.style import Theme, short_names, widest

Row = Mapping[str, Any]

LINE = 0.25
"""Inches of a row."""


def rank_plot(theme: Theme, colour: str, rows: Sequence[Row]) -> Figure:
    """rows: of the board, the best first."""
    names = short_names([row["name"] for row in rows])
    left, height = 0.2 + widest(names), 0.75 + LINE * len(rows)
    width = left + 6.0
    figure = Figure(figsize=(width, height))
    bottom, tall = 0.5 / height, (height - 0.7) / height
    scores = figure.add_axes((left / width, bottom, 2.8 / width, tall))
    places = figure.add_axes(((left + 3.05) / width, bottom, 2.3 / width, tall))
    for axes in (scores, places):
        _bands(axes, theme, rows)
    _intervals(scores, colour, [row["interval"] for row in rows], [row["normalised"] for row in rows], "o")
    _intervals(places, theme.ink, [row["rank_interval"] for row in rows], [row["rank"] for row in rows], "D")
    _name_tiers(places, rows)
    scores.set_yticks(range(len(rows)), names)
    scores.set(xlabel="score (% of what was possible)")
    scores.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
    places.set(xlabel="rank", xlim=(0.5, len(rows) + 0.5), yticks=[])
    places.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def _bands(axes: Axes, theme: Theme, rows: Sequence[Row]) -> None:
    """Rows of every other tier lie on a band."""
    for place, row in enumerate(rows):
        if row["tier"] % 2 == 0:
            axes.axhspan(place - 0.5, place + 0.5, color=theme.faint, alpha=0.45, linewidth=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", linewidth=0.6)
    axes.spines["left"].set_visible(False)


def _name_tiers(axes: Axes, rows: Sequence[Row]) -> None:
    """At the right, where a tier begins."""
    for place, row in enumerate(rows):
        if not place or rows[place - 1]["tier"] != row["tier"]:
            axes.text(1.03, place, f"tier {row['tier']}", transform=axes.get_yaxis_transform(), va="center", size=8)


def _intervals(axes: Axes, colour: str, bounds: Sequence[Sequence[float]], at: Sequence[float], marker: str) -> None:
    low, high = np.array(bounds, dtype=float).T
    axes.hlines(range(len(at)), low, high, color=colour, linewidth=2.2)
    axes.plot(at, range(len(at)), marker, color=colour, markersize=5.5)
