"""The paper's findings as numbers with intervals, from the flags of several seeds.

A figure is the mean over the seeds, with their standard deviation. Its interval is the 95 % percentile interval of a
bootstrap over seeds and over images, in which all networks and attacks see the same draw. Where a figure is the worst
of several attacks, the worst is sought anew in each draw.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advkit.errors import KitError
from training.measure import CLEAN, LATER, LOSS_BEST, LOSS_STEP, SINGLE_STEP, TOGETHER, Key, read_rows
from training.recipe import Family

RESAMPLES, CONFIDENCE, SEED = 2000, 0.95, 2017

Table = Mapping[Key, NDArray[np.floating]]
"""Key -> seeds x images: 0 or 1, or a loss."""

Means = Mapping[Key, float]
Statistic = Callable[[Means], float]


@dataclass(frozen=True)
class Number:
    """The mean over seeds, its 95 % interval, and the standard deviation over seeds, which is nan for a single one."""

    value: float
    low: float
    high: float
    deviation: float


@dataclass(frozen=True)
class Rates:
    """Error rates, 0..1, of one family at one epsilon, in some draw of images."""

    means: Means
    epsilon: float
    family: Family

    def white_box(self, network: str, attack: str) -> float:
        return self.means[Key(self.epsilon, network, attack, network)]

    def clean(self, network: str) -> float:
        return self.means[Key(0, CLEAN, CLEAN, network)]

    def transfer(self, network: str, surrogates: Iterable[str], attacks: Iterable[str]) -> dict[tuple[str, str], float]:
        """(surrogate, attack) -> error rate."""
        return {(s, a): self.means[Key(self.epsilon, s, a, network)] for s in surrogates for a in attacks}

    def black_box(self, network: str) -> dict[tuple[str, str], float]:
        """Single steps from every hold-out, as in the paper."""
        return self.transfer(network, self.family.holdouts, SINGLE_STEP)

    def single_step(self, network: str) -> dict[tuple[str, str], float]:
        """Single steps from every surrogate that `later` has, too."""
        return self.transfer(network, map(TOGETHER.join, self.family.surrogates), SINGLE_STEP)

    def later(self, network: str) -> dict[tuple[str, str], float]:
        """Iterative attacks from hold-outs, plain and adversarially trained, each alone and averaged."""
        return self.transfer(network, map(TOGETHER.join, self.family.surrogates), LATER)

    def loss_ratio(self, network: str) -> float:
        """The loss after a single step as a share of the largest that was found in the ball."""
        step, best = (self.means[Key(self.epsilon, network, attack, network)] for attack in (LOSS_STEP, LOSS_BEST))
        return ratio(step, best)


class Resampled:
    """Means of rows of one length, for each seed, and for each seed in each draw of images."""

    def __init__(self, table: Table) -> None:
        self._keys = list(table)
        self._rows = np.stack([table[key] for key in self._keys]).astype(np.float32)

    @property
    def seeds(self) -> int:
        return int(self._rows.shape[1])

    @cached_property
    def of_seeds(self) -> list[Means]:
        """One for each seed, of all images."""
        return self._as_means(self._rows.mean(axis=2))

    @cached_property
    def drawn(self) -> list[list[Means]]:
        """For each draw the means of as many seeds, drawn with replacement as the images are."""
        generator = np.random.default_rng(SEED)
        length = self._rows.shape[2]
        draws = []
        for _ in range(RESAMPLES):
            seeds = generator.integers(self.seeds, size=self.seeds)
            weights = np.bincount(generator.integers(length, size=length), minlength=length) / length
            means = self._as_means(self._rows @ weights.astype(np.float32))
            draws.append([means[seed] for seed in seeds])
        return draws

    def number(self, statistic: Statistic) -> Number:
        """A statistic of means."""
        values = [statistic(means) for means in self.of_seeds]
        drawn = [np.mean([statistic(means) for means in seeds]) for seeds in self.drawn]
        low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
        return Number(float(np.mean(values)), float(low), float(high), deviation)

    def _as_means(self, means: NDArray[np.floating]) -> list[Means]:
        return [dict(zip(self._keys, column, strict=True)) for column in means.T.tolist()]


class Results:
    """What was measured with several seeds. images: of single steps; later_images: of all attacks, the first ones."""

    def __init__(self, table: Table) -> None:
        lengths = [rows.shape[1] for rows in table.values()]
        self.images, self.later_images = max(lengths), min(lengths)
        self.all = Resampled({key: rows for key, rows in table.items() if rows.shape[1] == self.images})
        self.first = Resampled({key: rows[:, : self.later_images] for key, rows in table.items()})

    @property
    def seeds(self) -> int:
        return self.all.seeds

    def of(self, attack: str) -> Resampled:
        """All images that an attack was made on."""
        return self.all if attack in (CLEAN, *SINGLE_STEP) else self.first

    @classmethod
    def read(cls, paths: Sequence[Path]) -> "Results":
        """From the files of several seeds. Raises KitError where they are not of one study."""
        files = [read_rows(path) for path in paths]
        for path, file in zip(paths, files, strict=True):
            if file.keys() != files[0].keys() or any(file[key].shape != files[0][key].shape for key in file):
                raise KitError(f"{path}: was measured by another study than {paths[0]}; measure both again")
        return cls({key: np.stack([file[key] for file in files]) for key in files[0]})


@dataclass(frozen=True)
class Finding:
    """A statement of the paper as a statistic. scale: 100 for percent. later: it is about iterative attacks."""

    text: str
    statistic: Callable[[Rates, str, Family], float]
    scale: float = 100.0
    later: bool = False

    def number(self, results: Results, plain: str, family: Family, epsilon: float) -> Number:
        """Its figure for a family."""
        images = results.first if self.later else results.all
        return images.number(lambda means: self.statistic(Rates(means, epsilon, family), plain, family))


def ratio(part: float, whole: float) -> float:
    """nan where the whole is nothing."""
    return part / whole if whole else float("nan")


def _worst_transfer(rates: Rates, plain: str, family: Family) -> float:
    worst = max(rates.transfer(family.adversarial, family.holdouts, ["fgsm"]).values())
    return worst - rates.white_box(family.adversarial, "fgsm")


def _gain(rates: Rates, network: str) -> float:
    return rates.white_box(network, "r_fgsm") - rates.white_box(network, "fgsm")


def _black_box_ratio(rates: Rates, plain: str, family: Family) -> float:
    ensemble, adversarial = (max(rates.black_box(name).values()) for name in (family.ensemble, family.adversarial))
    return ratio(ensemble, adversarial)


def _later_gain(rates: Rates, plain: str, family: Family) -> float:
    return max(rates.later(family.ensemble).values()) - max(rates.single_step(family.ensemble).values())


FINDINGS = (
    Finding("1. Adversarially trained: FGSM from the worst hold-out minus its own FGSM", _worst_transfer),
    Finding("2. R+FGSM minus FGSM, white box, plain", lambda rates, plain, family: _gain(rates, plain)),
    Finding(
        "2. R+FGSM minus FGSM, white box, adversarially trained",
        lambda rates, plain, family: _gain(rates, family.adversarial),
    ),
    Finding(
        "2. That gain, adversarially trained minus plain",
        lambda rates, plain, family: _gain(rates, family.adversarial) - _gain(rates, plain),
    ),
    Finding("3. Largest black-box error, ensemble-adversarial / adversarial (a ratio)", _black_box_ratio, scale=1.0),
    Finding(
        "4. PGD-20, white box, adversarially trained",
        lambda rates, plain, family: rates.white_box(family.adversarial, "pgd20"),
        later=True,
    ),
    Finding(
        "4. PGD-20, white box, ensemble-adversarially trained",
        lambda rates, plain, family: rates.white_box(family.ensemble, "pgd20"),
        later=True,
    ),
    Finding("5. Ensemble-adversarial: worst iterative transfer minus worst single step", _later_gain, later=True),
)
"""What must hold: each above zero by more than its interval, the ratio below one."""
