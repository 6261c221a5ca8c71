"""The paper's findings as numbers with intervals, from the flags of several seeds.

An image's flag is averaged over the seeds; the interval is the percentile interval of a bootstrap over images, in
which all networks and attacks see the same draw. The spread over seeds is reported beside it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.measure import CLEAN, LATER, SINGLE_STEP, TOGETHER, Key
from training.recipe import Family

DRAWS, CONFIDENCE, SEED = 2000, 0.95, 2017

Table = Mapping[str, NDArray[np.float64]]
"""Key -> seeds x images: 0 or 1, or a ratio."""


@dataclass(frozen=True)
class Number:
    """A share or a difference of shares: over all seeds, its 95 % interval over images, its deviation over seeds."""

    value: float
    low: float
    high: float
    deviation: float


@dataclass(frozen=True)
class Rates:
    """Error rates, 0..1, of one family at one epsilon, in some draw of images."""

    means: Mapping[str, float]
    epsilon: float
    family: Family

    def white_box(self, network: str, attack: str) -> float:
        return self.means[str(Key(self.epsilon, network, attack, network))]

    def clean(self, network: str) -> float:
        return self.means[str(Key(0, CLEAN, CLEAN, network))]

    def transfer(self, network: str, surrogates: Iterable[str], attacks: Iterable[str]) -> dict[tuple[str, str], float]:
        """(surrogate, attack) -> error rate, of those that were measured."""
        keys = {(s, a): str(Key(self.epsilon, s, a, network)) for s in surrogates for a in attacks}
        return {pair: self.means[key] for pair, key in keys.items() if key in self.means}

    def black_box(self, network: str) -> dict[tuple[str, str], float]:
        """Single steps from every hold-out."""
        return self.transfer(network, self.family.holdouts, SINGLE_STEP)

    def later(self, network: str) -> dict[tuple[str, str], float]:
        """Iterative attacks from hold-outs, plain and adversarially trained, each alone and all together."""
        return self.transfer(network, map(TOGETHER.join, self.family.surrogates), LATER)


class Results:
    """Flags of several seeds as error rates: over all, for each seed, and for each draw of the bootstrap."""

    def __init__(self, table: Table) -> None:
        pooled = {key: values.mean(axis=0) for key, values in table.items()}
        self.seeds = len(next(iter(table.values())))
        self.images = max(map(len, pooled.values()))
        self.means = {key: float(values.mean()) for key, values in pooled.items()}
        self._of_seed = [{key: float(rows[n].mean()) for key, rows in table.items()} for n in range(self.seeds)]
        self._drawn = list(_draws(pooled))

    @classmethod
    def read(cls, paths: Sequence[Path]) -> "Results":
        """From the files of several seeds."""
        files = [np.load(path) for path in paths]
        return cls({key: np.stack([file[key].astype(np.float64) for file in files]) for key in files[0].files})

    def number(self, statistic: Callable[[Mapping[str, float]], float]) -> Number:
        """A statistic of error rates, with its interval over images and its deviation over seeds."""
        low, high = np.quantile(
            [statistic(means) for means in self._drawn], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        )
        values = [statistic(means) for means in self._of_seed]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
        return Number(statistic(self.means), float(low), float(high), deviation)


def _draws(pooled: Mapping[str, NDArray[np.float64]]) -> Iterator[dict[str, float]]:
    """Means over images drawn with replacement. A row of fewer images is about the first ones, and drawn among them."""
    generator = np.random.default_rng(SEED)
    keys = {length: [key for key in pooled if len(pooled[key]) == length] for length in {*map(len, pooled.values())}}
    columns = {length: np.stack([pooled[key] for key in own]) for length, own in keys.items()}
    for _ in range(DRAWS):
        means: dict[str, float] = {}
        for length in sorted(columns):
            weights = np.bincount(generator.integers(length, size=length), minlength=length) / length
            means.update(zip(keys[length], (columns[length] @ weights).tolist(), strict=True))
        yield means


def findings(plain: str, family: Family, epsilon: float) -> dict[str, Callable[[Mapping[str, float]], float]]:
    """The five statements of the paper as statistics of error rates, each larger the more it holds (but for 3)."""
    adversarial, ensemble = family.adversarial, family.ensemble

    def of(statistic: Callable[[Rates], float]) -> Callable[[Mapping[str, float]], float]:
        return lambda means: statistic(Rates(means, epsilon, family))

    def worst_fgsm(rates: Rates) -> float:
        return max(rates.transfer(adversarial, family.holdouts, ["fgsm"]).values())

    def gain(rates: Rates, network: str) -> float:
        return rates.white_box(network, "r_fgsm") - rates.white_box(network, "fgsm")

    return {
        "transfer_over_white_box": of(lambda rates: worst_fgsm(rates) - rates.white_box(adversarial, "fgsm")),
        "r_fgsm_over_fgsm_plain": of(lambda rates: gain(rates, plain)),
        "r_fgsm_over_fgsm_adversarial": of(lambda rates: gain(rates, adversarial)),
        "black_box_ratio": of(
            lambda rates: max(rates.black_box(ensemble).values()) / max(rates.black_box(adversarial).values())
        ),
        "pgd_ensemble": of(lambda rates: rates.white_box(ensemble, "pgd20")),
        "pgd_adversarial": of(lambda rates: rates.white_box(adversarial, "pgd20")),
        "later_over_single_step": of(
            lambda rates: max(rates.later(ensemble).values()) - max(rates.black_box(ensemble).values())
        ),
    }
