"""Intervals of shares by resampling images, with the same draws for everything: differences are those of pairs.

Images are weighted as in the Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981). That alone says nothing about
images unlike those that were drawn: where all were won, its interval would have no width. So the lower end also counts
`UNSEEN` of an image that was lost, and the upper end as much of one that was won. With 1 in the place of `UNSEEN`
these are the bounds of Gaffke (Mathematical Methods of Statistics 14, 2005), which for a single opponent are the exact
ones of Clopper and Pearson; one half keeps the coverage closer to what is claimed on average over true shares, as in
the interval of Jeffreys (Brown, Cai and DasGupta, Statistical Science 16, 2001), though for single ones it dips to
90 %. `benchmarks/coverage.py` measures it.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv

DRAWS = 1000
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2

UNSEEN = 0.5
"""How much of an image that nobody has seen an end of an interval allows for."""

GRAIN = 256
"""Weights are whole numbers of mean GRAIN and a half: sums of products are then exact, in whatever order a library
makes them."""

PIECE = 1 << 22
"""Weights that are floats at once: 32 MiB, where all of them would take 8 KB an image."""

Weights = npt.NDArray[np.uint16]
Sums = npt.NDArray[np.float64]
Estimates = npt.NDArray[np.float64]
"""K x 3: value, lower and upper bound of each of K statistics."""


def draw_images(images: int, seed: int, draws: int = DRAWS) -> Weights:
    """What each image counts in each draw: whole numbers, at least 1, B x N, GRAIN times exponential ones rounded up.

    16 bits hold all that are up to 256 times the mean; a larger one comes once in 10^111.
    """
    generator, weights = np.random.default_rng(seed), np.empty((draws, images), dtype=np.uint16)
    for row in weights:
        row[:] = np.ceil(GRAIN * generator.standard_exponential(images))
    return weights


def ratios(
    numerators: npt.NDArray[np.generic], denominators: npt.NDArray[np.generic], weights: Weights, least: float = 0.0
) -> Estimates:
    """Ratios of sums over images, whole numbers of points out of those possible.

    numerators: K x N. denominators: N or K x N. Each numerator is between `least` (0; -1 for differences of two) and 1
    times its denominator. A ratio of nothing is nan.
    """
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    sums = np.atleast_2d(_weighted(below, weights))
    possible = below.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = above.sum(axis=1) / possible.ravel()
        unseen = _unseen(len(weights)) * ((below**2).sum(axis=-1, keepdims=True) / possible)
        won = _weighted(above, weights)
        lower = np.quantile((won + least * unseen) / (sums + unseen), TAIL, axis=1)
        upper = np.quantile((won + unseen) / (sums + unseen), 1 - TAIL, axis=1)
    return np.column_stack([values, np.minimum(lower, values), np.maximum(upper, values)])


def _weighted(points: Sums, weights: npt.NDArray[np.generic]) -> Sums:
    """Sums over images in each draw: B, or K x B."""
    step = max(1, PIECE // max(weights.shape[1], 1))
    pieces = (weights[start : start + step].astype(np.float64) for start in range(0, len(weights), step))
    return np.concatenate([points @ piece.T for piece in pieces], axis=-1)


@cache
def _unseen(draws: int) -> Sums:
    """What the unseen image counts in each draw, B: the quantiles of its gamma distribution, as draws have no order."""
    return np.asarray(GRAIN * gammaincinv(UNSEEN, (np.arange(draws) + 0.5) / draws))
