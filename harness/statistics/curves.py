"""Points as a function of the budget, with intervals made as the board's own."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.scoring import Flags
from harness.statistics.bootstrap import Estimates, Weights, ratios
from harness.statistics.hardest import worst_opponents
from harness.statistics.wins import Wins


@dataclass(frozen=True)
class Point:
    """Shares of the points of S submissions at one budget, S x 3 each: value, lower and upper bound; nan where unknown.

    mean: over all opponents. worst: against the hardest one. hardest: which one that is, S. every: images won against
    all opponents at once.
    """

    mean: Estimates
    worst: Estimates
    hardest: npt.NDArray[np.intp]
    every: Estimates


def at_budget(wins: Wins, played: Flags, weights: Weights) -> Point:
    """The shares where only some answers count. played: bool E x N, where the images had the budget in question."""
    worst, hardest = worst_opponents(wins, played)
    times = played.sum(axis=0)
    opponents = len(wins.opponents)
    won = (wins.by_epsilon * played).sum(axis=1)
    every = ((wins.by_epsilon == opponents) & played).sum(axis=1)
    return Point(ratios(won, times * opponents, weights), worst, hardest, ratios(every, times, weights))
