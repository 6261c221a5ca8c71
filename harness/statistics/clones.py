"""Which submissions are nearly one: attacks that change images alike, defenses that make the same mistakes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from harness.scoring import Flags, Labels

Matrix = npt.NDArray[np.float64]

SAME_DIRECTION = 0.9
"""The mean cosine from which two attacks are named as clones: where both move every colour value by the whole budget,
the same way in 19 of 20 of them. Different methods on one network stay below 0.7; see docs/statistics.md."""

SAME_ERRORS = 0.9
"""The share of answers that are wrong in one or both, and the same in both, from which two defenses are named."""


def mean_cosines(products: npt.NDArray[np.int64]) -> Matrix:
    """Mean over images of the cosine of each pair of perturbations: A x A, of inner products M x A x A.

    An image that one of the two left unchanged counts as 0, or as 1 where both did: then they are one image.
    """
    lengths = np.sqrt(np.maximum(np.diagonal(products, axis1=1, axis2=2), 0).astype(np.float64))
    scale = lengths[:, :, None] * lengths[:, None, :]
    unchanged = lengths == 0
    both = unchanged[:, :, None] & unchanged[:, None, :]
    cosines = np.where(both, 1.0, products / np.where(scale == 0, 1.0, scale))
    return np.asarray(cosines.mean(axis=0) if len(products) else np.full(products.shape[1:], np.nan))


def agreement(labels: Labels) -> Matrix:
    """How often two defenses give the same label: D x D, of D x M answers; absent ones agree with none."""
    return _shares(labels, lambda rows, row: (rows == row) & (row >= 0))


def kappas(labels: Labels, agreed: Matrix) -> Matrix:
    """`agreed`, their `agreement`, beyond chance, D x D: 0 for labels drawn at random from each one's own, 1 at most.

    Where chance agrees always there is nothing beyond it: nan. Source: Cohen, A Coefficient of Agreement for Nominal
    Scales, Educational and Psychological Measurement 20 (1960); absent answers are no label here.
    """
    classes = int(labels.max(initial=0)) + 1
    shares = np.array([np.bincount(row[row >= 0], minlength=classes) / len(row) for row in labels])
    chance = shares @ shares.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((agreed - chance) / (1 - chance))


def same_errors(right: Flags, agreed: Matrix) -> Matrix:
    """Of the answers that are wrong in one or both of two defenses, the share that is the same in both: D x D.

    right: which answers are, D x M; agreed: their `agreement`. Nan where both are always right. Being right together
    says nothing here, so two good defenses that err apart are far from 1, however often they agree.
    """
    both_right = _shares(right, np.logical_and)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((agreed - both_right) / (1 - both_right))


def _shares(rows: npt.NDArray[Any], alike: Callable[[npt.NDArray[Any], npt.NDArray[Any]], Flags]) -> Matrix:
    """For each pair of rows the share of their elements that are `alike`."""
    table = np.empty((len(rows), len(rows)))
    for place, row in enumerate(rows):
        table[place, place:] = table[place:, place] = alike(rows[place:], row).mean(axis=1)
    return table


def pairs_from(likeness: Matrix, threshold: float) -> list[tuple[int, int]]:
    """Pairs (one, other), one before other, whose likeness reaches the threshold; the most alike first."""
    found = [(one, other) for one, other in zip(*np.triu_indices(len(likeness), k=1), strict=True)]
    named = [(int(one), int(other)) for one, other in found if likeness[one, other] >= threshold]
    return sorted(named, key=lambda pair: (-likeness[pair], pair))


def groups(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    """The number of each submission's group: those that are connected by pairs have the same, the least of theirs."""
    number = list(range(count))
    for one, other in pairs:
        low, high = sorted((number[one], number[other]))
        number = [low if group == high else group for group in number]
    return number


def order_by_likeness(likeness: Matrix) -> list[int]:
    """An order in which those that are alike stand together (average linkage); what is nan is like nothing."""
    if len(likeness) < 3:
        return list(range(len(likeness)))
    distance = 1 - np.nan_to_num(likeness)
    np.fill_diagonal(distance, 0)
    pairs = squareform(np.clip((distance + distance.T) / 2, 0, None), checks=False)
    return [int(number) for number in leaves_list(linkage(pairs, "average", optimal_ordering=True))]
