"""Attacks and defenses as players of one game: strengths, and what the best mixtures of each can hold."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.special import expit

Vector = npt.NDArray[np.float64]

PRIOR = 0.5
"""Wins of each side that every pair begins with, so that who always wins has a strength at all."""

STEPS = 100


@dataclass(frozen=True)
class Strengths:
    """Log-odds, of mean 0 over all: an attack fools a defense with the odds exp(attack - defense)."""

    attacks: Vector
    defenses: Vector


def bradley_terry(fooled: npt.NDArray[np.number], games: npt.NDArray[np.number]) -> Strengths:
    """The strengths that make the wins most likely, by Newton's method.

    fooled, games: A x D, images won by the attack and images played. Source: Bradley and Terry, Rank Analysis of
    Incomplete Block Designs, Biometrika 39 (1952); with PRIOR as in Firth's manner of keeping strengths finite.
    """
    won, played = fooled + PRIOR, games + 2 * PRIOR
    attacks, defenses = won.shape
    strengths = np.zeros(attacks + defenses)
    for _ in range(STEPS):
        p = expit(strengths[:attacks, None] - strengths[None, attacks:])
        residuals, information = won - played * p, played * p * (1 - p)
        gradient = np.concatenate([residuals.sum(axis=1), -residuals.sum(axis=0)])
        hessian = np.block(
            [[np.diag(information.sum(axis=1)), -information], [-information.T, np.diag(information.sum(axis=0))]]
        )
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]  # one direction is free: a constant added to all
        strengths += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    strengths -= strengths.mean()
    return Strengths(strengths[:attacks], strengths[attacks:])


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
