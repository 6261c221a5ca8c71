"""Score against time, with the front of those whom nobody beats in both, and labels that do not cover each other."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from matplotlib.transforms import Bbox

from harness.publish.plots.labels import Place, Spot, place_labels
from harness.publish.plots.style import NARROW, Theme, short_names, widest

Row = Mapping[str, Any]

SIZE, LARGEST = (7.2, 4.8), (10.0, 9.0)
"""Inches of a figure of up to CROWD marks, and the most that more of them make it."""

CROWD = 12

LETTERS = 8
"""Points of a label."""

TEN = 10.0
"""The least span of the axis of time: what differs by less looks alike."""


def cost_plot(theme: Theme, colour: str, rows: Sequence[Row]) -> Figure:
    """rows: of the report's costs, all of one role, each with a time."""
    more = max(0, len(rows) - CROWD)
    width, height = (min(size + 0.12 * more, most) for size, most in zip(SIZE, LARGEST, strict=True))
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.65 / width, 0.55 / height, 1 - 0.85 / width, 1 - 0.95 / height))
    axes.set_xscale("log")
    axes.set(xlabel="seconds per 100 images (log scale)", ylabel="score (% of what was possible)")
    best = sorted((row["seconds_per_100_images"], row["score"]) for row in rows if row["on_front"])
    axes.plot(*zip(*best, strict=True), drawstyle="steps-post", color=theme.ink, linewidth=1, linestyle="--", zorder=1)
    kinds = ((True, colour, "nobody scores more for less"), (False, theme.ground, "somebody does"))
    for on_front, fill, word in kinds:
        some = [(row["seconds_per_100_images"], row["score"]) for row in rows if row["on_front"] == on_front]
        if some:
            axes.plot(*zip(*some, strict=True), "o", color=colour, markerfacecolor=fill, markersize=6, label=word)
    _limits(axes, rows)
    axes.grid(linewidth=0.6)
    figure.legend(loc="upper center", ncols=2)
    _label(figure, axes, theme.ink, rows)
    return figure


def _limits(axes: Axes, rows: Sequence[Row]) -> None:
    seconds, scores = zip(*((row["seconds_per_100_images"], row["score"]) for row in rows), strict=True)
    margin = max(1.7, (TEN / max(seconds) * min(seconds)) ** 0.5)
    low, high = min(seconds) / margin, max(seconds) * margin
    room = 0.08 * max(max(scores) - min(scores), 0.1)
    axes.set(xlim=(low, high), ylim=(min(scores) - room, max(scores) + room))
    ticks = [factor * 10.0**power for power in range(-6, 9) for factor in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high][:: _every(high / low)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")


def _every(span: float) -> int:
    """Over many powers of ten only those have a tick."""
    return 1 if span < 3e4 else 3


def _label(figure: Figure, axes: Axes, ink: str, rows: Sequence[Row]) -> None:
    """Those on the front choose their places first, then the higher scores."""
    names, points = short_names([row["name"] for row in rows], NARROW), 72 / figure.dpi
    marks = [
        (float(x) * points, float(y) * points)
        for x, y in axes.transData.transform([(row["seconds_per_100_images"], row["score"]) for row in rows])
    ]
    frame = Bbox(axes.bbox.get_points() * points)
    sizes = [(72 * widest([name], LETTERS), 1.2 * LETTERS) for name in names]
    order = sorted(range(len(rows)), key=lambda place: (not rows[place]["on_front"], -rows[place]["score"], place))
    for number, spot in place_labels(marks, sizes, order, frame, _steps(marks, rows)).items():
        _annotate(axes, ink, names[number], (rows[number]["seconds_per_100_images"], rows[number]["score"]), spot)


def _steps(marks: Sequence[Place], rows: Sequence[Row]) -> list[Bbox]:
    """The line of the front, as boxes without breadth; marks: where the rows are."""
    best = sorted(mark for mark, row in zip(marks, rows, strict=True) if row["on_front"])
    corners = [((x, y), (right, y), (right, top)) for (x, y), (right, top) in itertools.pairwise(best)]
    return [Bbox(pair) for corner in corners for pair in itertools.pairwise(corner)]


def _annotate(axes: Axes, ink: str, name: str, at: Place, spot: Spot) -> None:
    across, up = ({"left": 0, "right": 1, "bottom": 0, "top": 1}.get(side, 0.5) for side in (spot.ha, spot.va))
    line = {"arrowstyle": "-", "linewidth": 0.5, "color": ink, "shrinkA": 0, "shrinkB": 4, "relpos": (across, up)}
    axes.annotate(
        name, at, spot.offset, textcoords="offset points", ha=spot.ha, va=spot.va, size=LETTERS,
        arrowprops=line if spot.far else None,
    )  # fmt: skip
