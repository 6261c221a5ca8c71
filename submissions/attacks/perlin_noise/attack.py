"""A universal perturbation from Perlin noise: the same for every image, made without a network or a query.

Source: Co, Munoz-Gonzalez, de Maupeou, Lupu, Procedural Noise Adversarial Examples, arXiv:1810.00470.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advkit.images import round_pixels
from advkit.run import AttackJob, attack_main

Field = NDArray[np.float64]


@dataclass(frozen=True)
class Config:
    """Keys of `config.yaml`."""

    period: int  # pixels between the points of the lattice
    octaves: int  # each with half the period and half the height of the one before
    waves: float  # how many half waves of a sine one unit of noise is


def perlin_noise(job: AttackJob) -> None:
    """Add epsilon times the sign of a sine of the noise; the noise depends on the seed alone."""
    config = job.read_config(Config)
    for batch in job.batches():
        noise = octaves(batch.pixels.shape[1:3], config, np.random.default_rng(job.seed))
        signs = np.where(np.sin(np.pi * config.waves * noise) < 0, -1, 1)
        job.save(batch, round_pixels(batch.pixels + job.epsilon * signs[..., None]))


def octaves(shape: tuple[int, int], config: Config, generator: np.random.Generator) -> Field:
    """Perlin noise of several periods, height x width."""
    return sum(0.5**octave * perlin(shape, config.period / 2**octave, generator) for octave in range(config.octaves))


def perlin(shape: tuple[int, int], period: float, generator: np.random.Generator) -> Field:
    """Perlin's gradient noise: each lattice point has a random slope, and pixels blend those of the four around.

    Source: Perlin, An image synthesizer, 1985; the blending polynomial is that of Improving noise, 2002.
    """
    rows, columns = np.meshgrid(*(np.arange(side) / period for side in shape), indexing="ij")
    row, column = rows.astype(int), columns.astype(int)
    angles = generator.uniform(0, 2 * np.pi, (row.max() + 2, column.max() + 2))

    def slope(down: int, right: int) -> Field:
        angle = angles[row + down, column + right]
        return np.sin(angle) * (rows - row - down) + np.cos(angle) * (columns - column - right)

    vertical, horizontal = fade(rows - row), fade(columns - column)
    above = slope(0, 0) * (1 - horizontal) + slope(0, 1) * horizontal
    below = slope(1, 0) * (1 - horizontal) + slope(1, 1) * horizontal
    return above * (1 - vertical) + below * vertical


def fade(t: Field) -> Field:
    """0 to 1 with first and second derivatives zero at both ends."""
    return t**3 * (6 * t**2 - 15 * t + 10)


if __name__ == "__main__":
    attack_main(perlin_noise, __file__)
