"""Which differences are more than chance: paired tests, tiers, and intervals of ranks."""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtr

ALPHA = 0.05
POWER = 0.8

Matrix = npt.NDArray[np.float64]


def paired_tests(by_image: npt.NDArray[np.integer]) -> Matrix:
    """Two-sided p-values of equal mean points, for each pair of submissions: float64 S x S, 1 on the diagonal.

    Paired t over images; and, since a t statistic of few images that agree may be anything, never below what a test of
    signs can give at best, 2 to the power of 1 - m for m images on which the two differ.
    """
    submissions, images = by_image.shape
    if images < 2:
        return np.ones((submissions, submissions))
    differences, deviations = _differences(by_image)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(differences) / (deviations / np.sqrt(images))
    p = np.where(differences == 0, 1.0, 2 * stdtr(images - 1, -np.where(np.isnan(t), 0.0, t)))
    return np.asarray(np.maximum(p, np.minimum(1.0, 2.0 ** (1 - _differing(by_image)))))


def holm(p: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """P-values adjusted for their number (Holm 1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def adjusted_tests(by_image: npt.NDArray[np.integer]) -> Matrix:
    """`paired_tests` of all pairs, adjusted by `holm`: S x S, symmetric."""
    p = paired_tests(by_image)
    pairs = np.triu_indices(len(p), k=1)
    adjusted = np.ones_like(p)
    adjusted[pairs] = holm(p[pairs])
    return np.minimum(adjusted, adjusted.T)


def tiers(scores: npt.NDArray[np.number], adjusted: Matrix, alpha: float = ALPHA) -> list[int]:
    """1 for the best and all that cannot be told from it; the best of the rest begins the next."""
    found = [0] * len(scores)
    left, tier = list(np.argsort(-scores, kind="stable")), 0
    while left:
        tier, best = tier + 1, left[0]
        for number in left:
            if number == best or adjusted[best, number] > alpha:
                found[number] = tier
        left = [number for number in left if not found[number]]
    return found


def rank_intervals(scores: npt.NDArray[np.number], adjusted: Matrix, alpha: float = ALPHA) -> npt.NDArray[np.int64]:
    """S x 2: one more than those that are better, and all but those that are worse, by more than chance.

    All of them together hold with confidence 1 - alpha (Mogstad, Romano, Shaikh and Wilhelm, Inference for Ranks,
    Review of Economic Studies 91, 2024; here with Holm's steps).
    """
    told_apart = adjusted <= alpha
    better = (told_apart & (scores[None, :] > scores[:, None])).sum(axis=1)
    worse = (told_apart & (scores[None, :] < scores[:, None])).sum(axis=1)
    return np.stack([1 + better, len(scores) - worse], axis=1)


def images_to_separate(by_image: npt.NDArray[np.integer], alpha: float = ALPHA, power: float = POWER) -> Matrix:
    """How many images would tell each pair apart with that power, were the difference as it is: S x S, inf if none."""
    differences, deviations = _differences(by_image)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.abs(differences) / deviations
        needed = np.ceil(((ndtri(1 - alpha / 2) + ndtri(power)) / effect) ** 2)
    return np.where(differences == 0, np.inf, np.maximum(np.nan_to_num(needed, nan=np.inf), 1.0))


def _differences(by_image: npt.NDArray[np.integer]) -> tuple[Matrix, Matrix]:
    """Mean and standard deviation over images of each pair's difference, S x S each."""
    points = by_image.astype(np.float64)
    means, images = points.mean(axis=1), points.shape[1]
    centred = points - means[:, None]
    covariance = centred @ centred.T / max(images - 1, 1)
    variances = np.diag(covariance)
    squares = np.maximum(variances[:, None] + variances[None, :] - 2 * covariance, 0)
    squares[squares < 1e-12] = 0
    return means[:, None] - means[None, :], np.sqrt(squares)


def _differing(by_image: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """On how many images each pair's points differ, S x S."""
    return np.stack([(by_image != row).sum(axis=1) for row in by_image])
