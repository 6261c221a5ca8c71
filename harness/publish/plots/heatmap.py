"""Tables as heat maps: attacks against defenses, and how alike submissions are."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from harness.publish.plots.style import Theme, short_names, widest

Matrix = npt.NDArray[np.float64]

COLOURS = "cividis"
"""Its lightness grows evenly with the value, for every kind of colour vision and in grey."""

ROOMY = 0.3
"""Inches of a cell from which a number fits into it."""

LABELLED = 60
"""Of more rows or columns than that, no name could be read."""

MANY = 5000
"""Cells from which on they are one picture within the SVG, which would else be megabytes."""

WHITE, BLACK = "#fffffe", "#000000"
"""White that is no ground, so that it stays white on the other one."""


def heat_map(
    theme: Theme, values: Matrix, rows: Sequence[str], columns: Sequence[str], label: str, low: float = 0.0
) -> Figure:
    """values: rows x columns, low..1, nan where there is none."""
    cell = min(0.5, max(0.11, 9 / max(len(columns), len(rows), 1)))
    shown = [short_names(names) if len(names) <= LABELLED else [] for names in (rows, columns)]
    left, bottom = (0.15 + widest(names) for names in shown)
    width, height = left + cell * max(len(columns), 4) + 1.0, bottom + cell * max(len(rows), 3) + 0.2
    figure = Figure(figsize=(width, height))
    across, up = cell * len(columns) / width, cell * len(rows) / height
    axes = figure.add_axes((left / width, bottom / height, across, up))
    scale = Normalize(low, 1.0)
    cells = np.ma.masked_invalid(values)
    mesh = axes.pcolormesh(cells, cmap=COLOURS, norm=scale, edgecolors=theme.ground, linewidth=2 * cell)
    mesh.set_rasterized(values.size > MANY)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    _name(axes, *shown)
    if cell >= ROOMY:
        _number(axes, values, scale, 17 * min(cell, 0.45))
    bar = figure.add_axes((left / width + across + 0.15 / width, bottom / height, 0.12 / width, up))
    _scale(bar, figure, scale, label, low)
    return figure


def _name(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90)
    axes.tick_params(length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _number(axes: Axes, values: Matrix, scale: Normalize, size: float) -> None:
    colours = mpl.colormaps[COLOURS](scale(values))[:, :, :3]
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            ink = WHITE if luminance(colours[row, column]) < MIDDLE else BLACK
            text = f"{100 * value:.0f}".replace("-0", "0") if abs(value) < 0.005 else f"{100 * value:.0f}"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center_baseline", color=ink, size=size)


MIDDLE = 0.179
"""The luminance at which black and white stand out alike: (l + 0.05)**2 = 1.05 * 0.05."""


def luminance(colour: Sequence[float] | npt.NDArray[np.floating]) -> float:
    """Relative luminance of an sRGB colour, 0..1 (Web Content Accessibility Guidelines 2.1)."""
    channels = np.asarray(colour, dtype=np.float64)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def _scale(axes: Axes, figure: Figure, scale: Normalize, label: str, low: float) -> None:
    bar = figure.colorbar(ScalarMappable(scale, COLOURS), cax=axes, label=label)
    bar.outline.set_visible(False)
    for part in axes.collections:
        part.set(rasterized=False, edgecolor="face")
    ticks = [value for value in (-1, -0.5, 0, 0.5, 1) if value >= low]
    bar.set_ticks(ticks, labels=[f"{100 * value:.0f}" for value in ticks])
