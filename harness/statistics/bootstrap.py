"""Percentile bootstrap over images, with the same draws for everything: differences are those of pairs.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
"""

import numpy as np
import numpy.typing as npt

from harness.statistics.wins import Wins

DRAWS = 1000
CONFIDENCE = 0.95

Weights = npt.NDArray[np.float32]
Estimates = npt.NDArray[np.float64]
"""K x 3: value, lower and upper bound of each of K statistics."""

CHUNK = 1 << 25
"""Numbers of a part of the table that is computed at once, 128 MiB of float32."""


def draw_images(images: int, seed: int, draws: int = DRAWS) -> Weights:
    """How often each image is drawn, float32 B x N; each row sums to N."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(images, np.full(images, 1 / images), size=draws).astype(np.float32)


def ratios(numerators: npt.NDArray[np.generic], denominators: npt.NDArray[np.generic], weights: Weights) -> Estimates:
    """Ratios of sums over images. numerators: K x N; denominators: N or K x N; a ratio of nothing is nan."""
    above = np.asarray(numerators, dtype=np.float32)
    below = np.broadcast_to(np.asarray(denominators, dtype=np.float32), above.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = above.sum(axis=1, dtype=np.float64) / below.sum(axis=1, dtype=np.float64)
        drawn = (weights @ above.T) / (weights @ below.T)
    return with_intervals(values, drawn)


def worst_opponents(wins: Wins, weights: Weights) -> tuple[Estimates, npt.NDArray[np.intp]]:
    """Share of points against the hardest opponent, sought anew in each draw, and which one it is (S)."""
    submissions, opponents, epsilons, images = wins.won.shape
    shares = wins.by_opponent / (epsilons * images)
    drawn = np.empty((len(weights), submissions), dtype=np.float32)
    step = max(1, CHUNK // (opponents * images))
    for start in range(0, submissions, step):
        part = wins.won[start : start + step].sum(axis=2, dtype=np.float32)
        sums = weights @ part.reshape(-1, images).T
        drawn[:, start : start + step] = sums.reshape(len(weights), -1, opponents).min(axis=2) / (epsilons * images)
    return with_intervals(shares.min(axis=1), drawn), shares.argmin(axis=1)


def with_intervals(values: npt.NDArray[np.floating], drawn: npt.NDArray[np.floating]) -> Estimates:
    """values: K. drawn: B x K, of which draws that are nan are left out."""
    tail = (1 - CONFIDENCE) / 2
    bounds = np.full((2, len(values)), np.nan)
    known = ~np.isnan(drawn)
    whole, some = known.all(axis=0), known.any(axis=0)
    bounds[:, whole] = np.quantile(drawn[:, whole], [tail, 1 - tail], axis=0)
    for number in np.flatnonzero(some & ~whole):
        bounds[:, number] = np.nanquantile(drawn[:, number], [tail, 1 - tail])
    return np.column_stack([values, bounds.T])
