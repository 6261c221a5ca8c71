"""What a ranking depends on: one opponent, or opponents that are copies of one another."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ranks = npt.NDArray[np.int64]
Counts = npt.NDArray[np.integer]


def ranks_without(by_opponent: Counts) -> Ranks:
    """Rank of each submission where one opponent is left out: S x O, equal scores sharing the better rank.

    by_opponent: points, S x O.
    """
    left = by_opponent.sum(axis=1, keepdims=True) - by_opponent
    return np.asarray(1 + (left[None, :, :] > left[:, None, :]).sum(axis=1))


def ranks_of_groups(by_opponent: Counts, groups: Sequence[int]) -> Ranks:
    """Rank of each submission where all opponents of a group together count as one: S; groups: a number for each of O.

    Whole numbers throughout, so that equal scores stay equal.
    """
    sizes = [list(groups).count(group) for group in groups]
    common = math.lcm(*sizes)
    points = by_opponent.astype(np.int64) @ np.array([common // size for size in sizes], dtype=np.int64)
    return np.asarray(1 + (points[None, :] > points[:, None]).sum(axis=1))


def kendall_tau(one: Ranks, other: Ranks) -> float:
    """How far two rankings agree on who is before whom: 1 on all, -1 on none; nan where one of them ties all.

    Kendall's tau-b: The Treatment of Ties in Ranking Problems, Biometrika 33 (1945).
    """
    first, second = (np.sign(ranks[:, None] - ranks[None, :]) for ranks in (one, other))
    pairs = math.sqrt(int((first**2).sum()) * int((second**2).sum()))
    return int((first * second).sum()) / pairs if pairs else math.nan
