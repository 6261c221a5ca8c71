"""How sure a score is. Images are the sampling unit: every submission is resampled with the same draws."""

import numpy as np
import numpy.typing as npt

DRAWS = 1000
CONFIDENCE = 0.95


def bootstrap_intervals(
    points: npt.NDArray[np.int64], seed: int, draws: int = DRAWS, confidence: float = CONFIDENCE
) -> npt.NDArray[np.float64]:
    """Percentile intervals of the mean over images, by paired bootstrap.

    points: int64 K x N, points of K submissions on N images. Returns float64 K x 2, lower and upper bound of
    the mean points for an image. Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    """
    submissions, images = points.shape
    if submissions == 0:
        return np.zeros((0, 2))
    weights = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=draws)
    means = (weights @ points.T) / images
    tail = (1 - confidence) / 2
    return np.asarray(np.quantile(means, [tail, 1 - tail], axis=0).T)
