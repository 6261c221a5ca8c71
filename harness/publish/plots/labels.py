"""Names beside marks: where each may stand so that no two cover each other. All lengths are points (1/72 inch)."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.transforms import Bbox

Place = tuple[float, float]

DIRECTIONS = (
    (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0),
    (1.0, 0.5), (-1.0, 0.5), (1.0, -0.5), (-1.0, -0.5),
)  # fmt: skip
DISTANCES = (7, 13, 20, 28, 38, 50, 64, 80, 100, 125, 150)
"""From a mark to its label, the nearest first."""

NEAR = 13
"""From which distance on a line leads from the label to its mark."""

MARK = 4.0
"""From the middle of a mark to its edge, and some air."""

AIR = 1.0
"""Around a label."""

STEP = 4.0
"""Between the points of a line that are looked at."""


@dataclass(frozen=True)
class Spot:
    """Where a label may stand: how far from its mark, and which of its corners or sides is there."""

    offset: Place
    ha: str
    va: str

    @property
    def far(self) -> bool:
        """Whether it needs a line to its mark."""
        return max(map(abs, self.offset)) > NEAR

    def box(self, mark: Place, size: Place) -> Bbox:
        """What a label of that width and height covers."""
        left = {"left": 0.0, "center": 0.5, "right": 1.0}[self.ha]
        below = {"bottom": 0.0, "center": 0.5, "top": 1.0}[self.va]
        x, y = mark[0] + self.offset[0] - left * size[0], mark[1] + self.offset[1] - below * size[1]
        return Bbox.from_bounds(x - AIR, y - AIR, size[0] + 2 * AIR, size[1] + 2 * AIR)

    def line(self, mark: Place) -> list[Bbox]:
        """Points of the line to the mark; none where it needs no line."""
        count = int(max(map(abs, self.offset)) / STEP) if self.far else 0
        shares = [number / count for number in range(1, count)]
        return [_around((mark[0] + share * self.offset[0], mark[1] + share * self.offset[1]), 0.5) for share in shares]


def spots() -> Iterator[Spot]:
    """All that are tried, the nearest first."""
    for distance, (right, up) in itertools.product(DISTANCES, DIRECTIONS):
        ha = "left" if right > 0 else "right" if right < 0 else "center"
        va = "bottom" if up == 1 else "top" if up == -1 else "center"
        yield Spot((right * distance, up * distance), ha, va)


def place_labels(
    marks: Sequence[Place], sizes: Sequence[Place], order: Iterable[int], frame: Bbox, lines: Sequence[Bbox] = ()
) -> dict[int, Spot]:
    """The nearest free spot of each label, who comes first in `order` chooses first; a label without one has none.

    Labels stay within the frame and cover no mark, no other label, none of `lines` and no line of a label; neither do
    the lines of labels.
    """
    own = [_around(mark, MARK) for mark in marks]
    taken = list(lines)
    found: dict[int, Spot] = {}
    for number in order:
        others = taken + own[:number] + own[number + 1 :]
        for spot in spots():
            box, line = spot.box(marks[number], sizes[number]), spot.line(marks[number])
            if _within(box, frame) and _free(box, [*others, own[number]]) and all(_free(one, others) for one in line):
                found[number] = spot
                taken += [box, *line]
                break
    return found


def _around(place: Place, reach: float) -> Bbox:
    return Bbox.from_bounds(place[0] - reach, place[1] - reach, 2 * reach, 2 * reach)


def _free(box: Bbox, others: Iterable[Bbox]) -> bool:
    return not any(box.overlaps(other) for other in others)


def _within(box: Bbox, frame: Bbox) -> bool:
    return bool(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)
