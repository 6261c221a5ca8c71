"""The picture of docs/paper.md: what a plain network and its two trainings withstand, side by side."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from advkit.errors import KitError
from advkit.weights.files import how_to_install
from training.findings import Number, Rates, Results
from training.recipe import Family

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
except ImportError as missing:
    raise KitError(f"matplotlib, which draws figures, is not installed: {how_to_install('figures')}") from missing

Statistic = Callable[[Rates, str], float]

ROWS: Mapping[str, tuple[bool, Statistic]] = {
    "clean images": (False, Rates.clean),
    "FGSM, white box": (False, lambda rates, name: rates.white_box(name, "fgsm")),
    "R+FGSM, white box": (False, lambda rates, name: rates.white_box(name, "r_fgsm")),
    "single step from\nthe worst hold-out": (False, lambda rates, name: max(rates.black_box(name).values())),
    "iterative, from\nthe worst hold-outs": (True, lambda rates, name: max(rates.later(name).values())),
    "PGD-20, white box": (True, lambda rates, name: rates.white_box(name, "pgd20")),
}
"""What is shown -> whether it is about the first images alone, and the error rate of a network."""

MARKS = (("plain", "#b8500a", "o"), ("adversarial", "#8a3ea8", "s"), ("ensemble-adversarial", "#0063a6", "D"))
"""Colours of equal weight that everybody can tell apart on white, and shapes for who cannot."""

SETTINGS = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "paper",
}


def draw(results: Results, plain: str, family: Family, epsilon: float, path: Path) -> None:
    """Writes an SVG: for every row the three errors in percent with their 95 % intervals."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for place, (name, (title, colour, mark)) in enumerate(zip(family.members(plain), MARKS, strict=True)):
            numbers = [_number(results, row, name, family, epsilon) for row in ROWS.values()]
            _points(axes, numbers, (place - 1) * 0.2, title, colour, mark)
        axes.set_yticks(range(len(ROWS)), list(ROWS))
        axes.invert_yaxis()
        axes.set_xlim(-2, 102)
        axes.set_xlabel(f"error in percent, epsilon {epsilon:g}/255")
        axes.grid(axis="x", color="#d9d9d9")
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        FigureCanvasSVG(figure)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _number(results: Results, row: tuple[bool, Statistic], name: str, family: Family, epsilon: float) -> Number:
    of_first, statistic = row
    images = results.first if of_first else results.all
    return images.number(lambda means: statistic(Rates(means, epsilon, family), name))


def _points(axes: Axes, numbers: Sequence[Number], shift: float, title: str, colour: str, mark: str) -> None:
    """An interval need not hold the figure where that is the largest of several: no bar is shorter than nothing."""
    values = [100 * one.value for one in numbers]
    below = [max(0.0, 100 * (one.value - one.low)) for one in numbers]
    above = [max(0.0, 100 * (one.high - one.value)) for one in numbers]
    rows = [row + shift for row in range(len(numbers))]
    axes.errorbar(
        values, rows, xerr=(below, above), fmt=mark, color=colour, label=title, markersize=5, linewidth=1.5, capsize=2
    )
