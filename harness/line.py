"""A cost that begins with a fixed part and grows with each image, and the line through what was measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

SIZES = 24
"""Sizes of calls of one player that a fit looks at."""

LEVER = 2
"""A call with at least so many times the images of another tells start-up from work; less is drowned in noise."""


@dataclass(frozen=True)
class Line:
    """A cost of `fixed` and, for each image, `each`; neither is negative."""

    fixed: float
    each: float

    def at(self, images: int) -> float:
        return self.fixed + self.each * images


def fit(seconds: Mapping[int, Sequence[float]]) -> Line | None:
    """The line through the median seconds of calls of each size: the weighted median of the slopes of pairs.

    A few calls that are far off do not move it (Theil 1950, Sen 1968). None where no call has LEVER times the images of
    another.
    """
    sizes = _thinned(sorted(seconds))
    middle = {size: median(seconds[size]) for size in sizes}
    pairs = [(few, many) for few, many in combinations(sizes, 2) if many >= LEVER * few]
    if not pairs:
        return None
    slopes = [((middle[many] - middle[few]) / (many - few), _weight(seconds, few, many)) for few, many in pairs]
    each = _weighted_median(slopes)
    if each <= 0:
        return Line(_weighted_median([(middle[size], len(seconds[size])) for size in sizes]), 0.0)
    fixed = _weighted_median([(middle[size] - each * size, len(seconds[size])) for size in sizes])
    if fixed <= 0:
        return Line(0.0, _weighted_median([(middle[size] / size, len(seconds[size])) for size in sizes]))
    return Line(fixed, each)


def _weight(seconds: Mapping[int, Sequence[float]], few: int, many: int) -> float:
    return (many - few) * min(len(seconds[few]), len(seconds[many]))


def _thinned(sizes: Sequence[int]) -> list[int]:
    """At most SIZES of them, evenly spread, the first and the last included."""
    if len(sizes) <= SIZES:
        return list(sizes)
    return [sizes[round(step * (len(sizes) - 1) / (SIZES - 1))] for step in range(SIZES)]


def _weighted_median(values: Iterable[tuple[float, float]]) -> float:
    """Of (value, weight): the first value at which half of the weight is reached."""
    ordered = sorted(values)
    half = sum(weight for _, weight in ordered) / 2
    reached = 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= half:
            return value
    return ordered[-1][0]
