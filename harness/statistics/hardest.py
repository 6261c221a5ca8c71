"""The share of points against the hardest opponent, with an interval that holds although the hardest is chosen by it.

The least of several shares is lower than the share of whoever is truly hardest, the more so the more opponents are
about as hard; resampling it makes it lower again. So each opponent that may be the hardest has a binomial interval
(that of Clopper and Pearson, Biometrika 26, 1934, but with `UNSEEN` of an image as in `bootstrap`). The lower end is
the least of their lower ends, since one of them is the true one's. The upper end is the least of their upper ends,
which have to hold for all of them at once (Bonferroni); without those that are clearly easier, as in Chernozhukov, Lee
and Rosen, Intersection Bounds, Econometrica 81 (2013). Where an image has several answers, the number of images is
replaced by an effective one (Korn and Graubard, Survey Methodology 24, 1998).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from harness.scoring import Flags, add_up
from harness.statistics.bootstrap import TAIL, UNSEEN, Estimates
from harness.statistics.wins import Wins

EASIER = 3.0
"""Standard errors of the paired difference by which an opponent is easier that is not the hardest by mistake."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Sums:
    """Over the images of one submission against each of O opponents, of its points x, those of the hardest h among
    them, and the possible t: whole numbers. times: N.
    """

    points: Matrix
    squares: Matrix
    with_hardest: Matrix
    with_times: Matrix
    hardest: int
    times: Matrix


def worst_opponents(wins: Wins, played: Flags | None = None) -> tuple[Estimates, npt.NDArray[np.intp]]:
    """Share of points against the hardest opponent, S x 3, and which one it is, S; nan where there is none.

    played: bool E x N, the answers that count; all where it is None.
    """
    submissions, opponents, epsilons, images = wins.won.shape
    played = np.ones((epsilons, images), dtype=bool) if played is None else played
    if not (opponents and played.any()):
        return np.full((submissions, 3), np.nan), np.zeros(submissions, dtype=np.intp)
    found = [_sum(wins.won[number], played) for number in range(submissions)]
    estimates = np.array([_interval(sums) for sums in found]).reshape(-1, 3)
    return estimates, np.array([sums.hardest for sums in found], dtype=np.intp)


def _sum(won: Flags, played: Flags) -> _Sums:
    """won: O x E x N. No matrix products: they are too small to be worth the threads of a library."""
    x = add_up((won & played).transpose(1, 0, 2)).astype(np.float64)
    times = played.sum(axis=0, dtype=np.float64)
    points = x.sum(axis=1)
    hardest = int(points.argmin())
    with_hardest, with_times = (np.einsum("on,n->o", x, other) for other in (x[hardest], times))
    return _Sums(points, np.einsum("on,on->o", x, x), with_hardest, with_times, hardest, times)


def _interval(sums: _Sums) -> tuple[float, float, float]:
    possible = sums.times.sum()
    shares = sums.points / possible
    chosen = _perhaps_hardest(sums)
    size = _effective_images(sums, shares)[chosen]
    won, value = shares[chosen] * size, float(shares[sums.hardest])
    lower = _beta(won, size - won + UNSEEN, TAIL)
    upper = _beta(won + UNSEEN, size - won, 1 - TAIL / len(size))
    return value, min(value, float(lower.min())), max(value, float(upper.min()))


def _perhaps_hardest(sums: _Sums) -> npt.NDArray[np.bool_]:
    """Opponents that are not easier than the hardest one by EASIER standard errors: bool O."""
    images = np.count_nonzero(sums.times)
    easier = sums.points - sums.points[sums.hardest]
    squares = sums.squares + sums.squares[sums.hardest] - 2 * sums.with_hardest
    return np.asarray(easier**2 * images <= EASIER**2 * (squares * images - easier**2))


def _effective_images(sums: _Sums, shares: Matrix) -> Matrix:
    """How many images with one answer each would tell a share as well: O; at least the images, at most the answers."""
    possible, images = sums.times.sum(), np.count_nonzero(sums.times)
    least = possible**2 / (sums.times**2).sum()
    residuals = sums.squares - 2 * shares * sums.with_times + shares**2 * (sums.times**2).sum()
    variances = residuals * images / max(images - 1, 1) / possible**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.clip(np.nan_to_num(shares * (1 - shares) / variances, nan=least), least, possible))


def _beta(a: Matrix, b: Matrix, probability: float) -> Matrix:
    """The quantile of beta distributions, and their limits where a or b is 0."""
    with np.errstate(invalid="ignore"):
        return np.where(a <= 0, 0.0, np.where(b <= 0, 1.0, betaincinv(a, b, probability)))
