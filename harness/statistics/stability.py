"""What a ranking depends on: one opponent, or submissions that are copies of one another."""

import numpy as np
import numpy.typing as npt

from harness.scoring import Labels
from harness.statistics.wins import Counts


def ranks_without(by_opponent: Counts) -> npt.NDArray[np.int64]:
    """Rank of each submission where one opponent is left out: S x O, equal scores sharing the better rank.

    by_opponent: points, S x O.
    """
    left = by_opponent.sum(axis=1, keepdims=True) - by_opponent
    return np.asarray(1 + (left[None, :, :] > left[:, None, :]).sum(axis=1))


def agreement(labels: Labels) -> npt.NDArray[np.float64]:
    """How often two defenses give the same label: D x D, of D x M answers; absent ones agree with none."""
    given = labels >= 0
    return np.stack([((labels == row) & given).mean(axis=1) for row in labels])


def cosines(perturbations: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Mean over images of the cosine between two attacks' perturbations of it: A x A; of A x N x pixels.

    An image that one of the two left unchanged counts as 0, or as 1 where both did.
    """
    total = np.zeros((len(perturbations),) * 2)
    for number in range(perturbations.shape[1]):
        image = perturbations[:, number].astype(np.float64)
        lengths = np.linalg.norm(image, axis=1)
        unit = image / np.where(lengths, lengths, 1)[:, None]
        total += np.where((lengths[:, None] == 0) & (lengths[None, :] == 0), 1.0, unit @ unit.T)
    return np.asarray(total / max(perturbations.shape[1], 1))
