"""Shares against the budget, a small panel for each submission: the average, the hardest, and all opponents at once."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.publish.plots.style import NARROW, Theme, short_names

Row = Mapping[str, Any]

LINES = {"mean": ("-", "o"), "worst": ("--", "s"), "every": (":", "^")}
"""Line and mark of each key of the curves: they differ without colour, too."""

WIDE, TALL = 2.0, 1.55
"""Inches of a panel."""


def budget_plot(
    theme: Theme, colour: str, budgets: Sequence[int], rows: Sequence[Row], words: dict[str, str], label: str
) -> Figure:
    """rows: of the report's curves, in the order of the panels; words: what each key is called; label: of the axis."""
    across = min(len(rows), max(3, math.ceil(math.sqrt(1.4 * len(rows)))), 6)
    down = math.ceil(len(rows) / across)
    width, height = max(0.7 + WIDE * across, 5.2), 1.05 + TALL * down
    figure = Figure(figsize=(width, height))
    names = short_names([row["name"] for row in rows], NARROW)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    figure.subplots_adjust(0.55 / width, 0.8 / height, 1 - 0.15 / width, 1 - 0.25 / height, 0.12, 0.28)
    for axes, row, name in zip(panels, rows, names, strict=False):
        axes.set_title(name, size=8, pad=3)
        for key in words:
            _curve(axes, colour, budgets, row[key], LINES[key])
        _dress(axes, budgets)
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(rows) - across) : len(rows)]:
        axes.tick_params(labelbottom=True)
    figure.supylabel(label, x=0.12 / width, size=9)
    figure.text(0.5, 0.42 / height, "epsilon (of 255)", ha="center", size=9)
    handles = panels[0].get_lines()[: len(words)]
    figure.legend(handles, words.values(), loc="lower center", ncols=len(words), handlelength=3)
    return figure


def _curve(axes: Axes, colour: str, budgets: Sequence[int], found: Sequence[Row | None], line: tuple[str, str]) -> None:
    """With a band between the bounds, where they are known."""
    value, low, high = np.array(
        [[math.nan] * 3 if one is None else [one["normalised"], *one["interval"]] for one in found], dtype=float
    ).T
    axes.fill_between(budgets, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(budgets, value, color=colour, linestyle=line[0], marker=line[1], markersize=3.5, linewidth=1.4)


def _dress(axes: Axes, budgets: Sequence[int]) -> None:
    axes.set(ylim=(-0.03, 1.03), xticks=budgets, yticks=(0, 0.5, 1))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
    axes.tick_params(labelsize=7.5, length=2)
    axes.grid(linewidth=0.6)
