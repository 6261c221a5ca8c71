"""Attacks and defenses as players of one game: strengths, and what the best mixtures of each can hold."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.special import expit

Vector = npt.NDArray[np.float64]

PRIOR = 0.5
"""Wins of each side that every pair begins with, so that who always wins has a strength at all."""

STEPS, TOLERANCE = 1000, 1e-10


@dataclass(frozen=True)
class Strengths:
    """Log-odds, of mean 0 over all: an attack fools a defense with the odds exp(attack - defense)."""

    attacks: Vector
    defenses: Vector


def bradley_terry(fooled: npt.NDArray[np.number], games: npt.NDArray[np.number]) -> Strengths:
    """The strengths that make the wins most likely.

    fooled, games: A x D, images won by the attack and images played. Source: Bradley and Terry, Rank Analysis of
    Incomplete Block Designs, Biometrika 39 (1952); with PRIOR added, which keeps strengths finite. By
    Newton's steps for one side and then the other, which needs no matrix to be solved and so gives the same bytes
    everywhere; where all pairs play as often, a few dozen are enough.
    """
    won, played = np.asarray(fooled + PRIOR, dtype=np.float64), np.asarray(games + 2 * PRIOR, dtype=np.float64)
    attacks, defenses = np.zeros(won.shape[0]), np.zeros(won.shape[1])
    for _ in range(STEPS):
        step = _newton(won, played, attacks[:, None] - defenses, axis=1)
        attacks += step
        back = _newton(won, played, attacks[:, None] - defenses, axis=0)
        defenses -= back
        if max(np.abs(step).max(), np.abs(back).max()) < TOLERANCE:
            break
    middle = np.concatenate([attacks, defenses]).mean()
    return Strengths(attacks - middle, defenses - middle)


def _newton(won: Vector, played: Vector, odds: Vector, axis: int) -> Vector:
    """The step of one side's strengths towards where the likelihood is largest while the other's stay."""
    p = expit(odds)
    step = (won - played * p).sum(axis=axis) / (played * p * (1 - p)).sum(axis=axis)
    return np.asarray(np.clip(step, -2, 2))


@dataclass(frozen=True)
class Equilibrium:
    """value: the share of images fooled when both sides mix their best. attacks, defenses: the mixtures, of sum 1."""

    value: float
    attacks: Vector
    defenses: Vector


def solve_game(fooled: npt.NDArray[np.floating]) -> Equilibrium:
    """The equilibrium of the zero-sum game of A x D shares of images fooled, by linear programming."""
    attacks, defenses = fooled.shape
    # The defense side minimises v with fooled @ mixture <= v; the attack side's mixture is the dual.
    solution = linprog(
        np.append(np.zeros(defenses), 1.0),
        A_ub=np.hstack([fooled, -np.ones((attacks, 1))]),
        b_ub=np.zeros(attacks),
        A_eq=np.append(np.ones(defenses), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * defenses + [(None, None)],
        method="highs",
    )
    mixture = np.maximum(-solution.ineqlin.marginals, 0)
    return Equilibrium(float(solution.fun), mixture / mixture.sum(), solution.x[:defenses])
