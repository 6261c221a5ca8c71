"""How figures look and how they are written: two grounds, colours that everybody can tell apart, names made safe."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import TextToPath

from harness.atomic import write_atomic
from harness.errors import printable
from harness.records import Role

FONT = "DejaVu Sans"
"""Comes with matplotlib, so every machine has the same; letters become outlines, so no reader needs it."""

NAME_LENGTH, NARROW = 36, 26
"""Characters of a name at the edge of a figure, and within one."""

PNG_DPI = 150
CSS_DPI = 96


@dataclass(frozen=True)
class Theme:
    """Colours for one ground. ink: text, with a contrast of 4.5 at least; colours of roles: marks, with 3 at least.

    Source of both figures: Web Content Accessibility Guidelines 2.1, 1.4.3 and 1.4.11. No one colour has 4.5 on white
    and on a ground as light as #111, so there are two themes.
    """

    ground: str
    ink: str
    faint: str
    colours: dict[Role, str]

    @property
    def all(self) -> tuple[str, ...]:
        return self.ground, self.ink, self.faint, *self.colours.values()


LIGHT = Theme(
    "#ffffff", "#333333", "#d9d9d9",
    {Role.ATTACK: "#b8500a", Role.TARGETED_ATTACK: "#8a3ea8", Role.DEFENSE: "#0063a6"},
)  # fmt: skip
DARK = Theme(
    "#111111", "#d6d6d6", "#3d3d3d",
    {Role.ATTACK: "#f08c3a", Role.TARGETED_ATTACK: "#c795e0", Role.DEFENSE: "#5ab0ee"},
)  # fmt: skip
SETTINGS = {
    "font.family": [FONT],
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.parse_math": False,  # a $ in a name is a $
    "text.usetex": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "harness",
    "path.simplify": False,
}


@contextmanager
def look(theme: Theme) -> Iterator[None]:
    """Within the block, figures look as ours do, whatever the user's own matplotlibrc says."""
    parts = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "legend.labelcolor")
    colours = dict.fromkeys(parts, theme.ink) | {"grid.color": theme.faint}
    grounds = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), theme.ground)
    with style.context(["default", SETTINGS | colours | grounds]):
        yield


def write_figure(figure: Figure, folder: Path, stem: str) -> None:
    """Writes STEM.svg, STEM.png and STEM-dark.svg of a figure that was drawn in LIGHT colours.

    The same bytes for the same figure and version of matplotlib.
    """
    FigureCanvasSVG(figure)
    vector, pixels = io.StringIO(), io.BytesIO()
    figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
    FigureCanvasAgg(figure)
    figure.savefig(pixels, format="png", dpi=PNG_DPI, metadata={"Software": None})
    write_atomic(folder / f"{stem}.svg", vector.getvalue(), durable=False)
    write_atomic(folder / f"{stem}-dark.svg", darkened(vector.getvalue()), durable=False)
    write_atomic(folder / f"{stem}.png", pixels.getvalue(), durable=False)


def darkened(svg: str) -> str:
    """The same drawing for a dark ground: what differs between the themes are colours alone."""
    other = dict(zip(LIGHT.all, DARK.all, strict=True))
    return re.sub("|".join(other), lambda colour: other[colour[0]], svg)


# --- words in figures


def widest(texts: Sequence[str], size: float = 9.0) -> float:
    """The width of the widest of some texts that were made legible, in inches; size: of the letters, in points."""
    font = FontProperties(family=FONT, size=size)
    measure = TextToPath().get_text_width_height_descent
    return max((measure(text, font, ismath=False)[0] for text in texts), default=0.0) / 72


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT, fallback_to_default=False)).get_charmap())


def legible(text: str) -> str:
    """One line that the font can show, whoever wrote it."""
    line = printable(text).replace("\t", " ")
    return "".join(char if ord(char) in _glyphs() else "\ufffd" for char in line)


def shorten(name: str, length: int = NAME_LENGTH) -> str:
    """`legible`, and without its middle where it is too long: names often differ in how they begin or end."""
    text = legible(name)
    if len(text) <= length:
        return text
    end = (length - 1) // 2
    return f"{text[: length - 1 - end]}…{text[-end:]}"


def short_names(names: Sequence[str], length: int = NAME_LENGTH) -> list[str]:
    """`shorten` of each; names that would then be the same get their place among them."""
    short = [shorten(name, length) for name in names]
    return [
        f"{text} ({short[:place].count(text) + 1})" if short.count(text) > 1 else text
        for place, text in enumerate(short)
    ]
