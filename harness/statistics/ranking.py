"""Which differences are more than chance: paired tests, tiers, and intervals of ranks."""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtr

ALPHA = 0.05
POWER = 0.8

UNSEEN = 1.0
"""How much of an image that the worse one wins by all points a test allows for. Twice that of an interval: coverage is
right on average, but an error of a test has to be rare in any table. With half an image, of two equal ones, of whom one
wins all on few images and the other a little on each, up to 14 % are told apart; with a whole one 5 %."""

Matrix = npt.NDArray[np.float64]


def paired_tests(by_image: npt.NDArray[np.integer], possible: int | None = None) -> Matrix:
    """Two-sided p-values of equal mean points, for each pair of submissions: float64 S x S, 1 on the diagonal.

    by_image: S x N. possible: the most points that an image can give; where it is None, the most that anybody has.
    Paired t over images and `UNSEEN` of one that the worse one wins by all points: else few images that agree would
    prove anything. Never below what a test of signs can give at best, 2 to the power of 1 - m
    for m images on which the two differ.
    """
    submissions, images = by_image.shape
    if images < 2:
        return np.ones((submissions, submissions))
    most = by_image.max(initial=0) if possible is None else possible
    differences, squares = _sums(by_image)
    total, size = np.abs(differences) - UNSEEN * most, images + UNSEEN
    variances = (squares + UNSEEN * most**2 - total**2 / size) / (size - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num(np.maximum(total, 0) / np.sqrt(variances * size))
    signs = np.minimum(1.0, 2.0 ** (1 - _differing(by_image)))
    return np.asarray(np.maximum(2 * stdtr(images - 1, -t), signs))


def holm(p: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """P-values adjusted for their number (Holm 1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def adjusted_tests(by_image: npt.NDArray[np.integer], possible: int | None = None) -> Matrix:
    """`paired_tests` of all pairs, adjusted by `holm`: S x S, symmetric."""
    p = paired_tests(by_image, possible)
    pairs = np.triu_indices(len(p), k=1)
    adjusted = np.ones_like(p)
    adjusted[pairs] = holm(p[pairs])
    return np.minimum(adjusted, adjusted.T)


def tiers(scores: npt.NDArray[np.number], adjusted: Matrix, alpha: float = ALPHA) -> list[int]:
    """1 for the best; a tier ends where everybody above can be told from everybody below.

    So two that are equal stand in different tiers only if a test told them apart, which happens to any of them with
    probability alpha at most. Two of one tier may still have been told apart: see `rank_intervals`. As the clusters of
    the Conference on Machine Translation (Bojar et al., Findings of the 2013 Workshop, section 3).
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    apart = adjusted[np.ix_(order, order)] <= alpha
    ends = [bool(apart[:place, place:].all()) for place in range(1, len(order))]
    found = np.empty(len(order), dtype=np.int64)
    found[order] = 1 + np.concatenate([[0], np.cumsum(ends)])[: len(order)]
    return [int(tier) for tier in found]


def rank_intervals(scores: npt.NDArray[np.number], adjusted: Matrix, alpha: float = ALPHA) -> npt.NDArray[np.int64]:
    """S x 2: one more than those that are better, and all but those that are worse, by more than chance.

    All of them together hold with confidence 1 - alpha (Mogstad, Romano, Shaikh and Wilhelm, Inference for Ranks,
    Review of Economic Studies 91, 2024; here with Holm's steps).
    """
    told_apart = adjusted <= alpha
    better = (told_apart & (scores[None, :] > scores[:, None])).sum(axis=1)
    worse = (told_apart & (scores[None, :] < scores[:, None])).sum(axis=1)
    return np.stack([1 + better, len(scores) - worse], axis=1)


def images_to_separate(
    by_image: npt.NDArray[np.integer], possible: int | None = None, alpha: float = ALPHA, power: float = POWER
) -> Matrix:
    """How many images would tell each pair apart with that power, were the difference as it is: S x S, inf if none, or
    where there is but one image to learn from.

    For one test of `paired_tests`, not adjusted for others: the n at which its expected statistic is the sum of the
    normal quantiles of alpha / 2 and power, with the t correction of Guenther (The American Statistician 35, 1981); at
    least as many as hold the differences that a test of signs asks for.
    """
    images = by_image.shape[1]
    most = by_image.max(initial=0) if possible is None else possible
    differences, squares = _sums(by_image)
    mean = np.abs(differences) / images
    variance = (squares - differences**2 / images) / max(images - 1, 1)
    normal, signs = ndtri(1 - alpha / 2), np.ceil(1 - np.log2(alpha))
    level = (normal + ndtri(power)) ** 2
    # mean * n - UNSEEN * most = sqrt(level * (n * variance + UNSEEN * (most + mean)^2)), squared
    half = 2 * UNSEEN * most * mean + level * variance
    rest = (UNSEEN * most) ** 2 - level * UNSEEN * (most + mean) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = (half + np.sqrt(half**2 - 4 * mean**2 * rest)) / (2 * mean**2) + normal**2 / 2
        needed = np.maximum(needed, signs * images / _differing(by_image))
    return np.where((differences == 0) | (images < 2), np.inf, np.ceil(needed))


def _sums(by_image: npt.NDArray[np.integer]) -> tuple[Matrix, Matrix]:
    """Sums over images of each pair's difference and of its square, S x S each: whole numbers, exact in any order."""
    points = by_image.astype(np.float64)
    sums, products = points.sum(axis=1), points @ points.T
    own = np.diag(products)
    return sums[:, None] - sums[None, :], own[:, None] + own[None, :] - 2 * products


def _differing(by_image: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """On how many images each pair's points differ, S x S."""
    return np.array([(by_image != row).sum(axis=1) for row in by_image], dtype=np.int64).reshape(len(by_image), -1)
