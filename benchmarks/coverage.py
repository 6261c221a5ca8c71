"""How often the board's intervals hold, and how often it separates who is equal, on tables whose truth is known.

Every image has an ease, standard normal, that moves all chances to win on it; a submission wins a point against an
opponent with the chance sigmoid(level + spread * ease). Levels are solved for the true share. A row is one kind of
table, drawn anew many times: how often the 95 % interval held the truth, beside that of the percentile bootstrap, which
is what is usually done. The test suite runs the same functions on fewer tables.

    python benchmarks/coverage.py [--tables 4000] > coverage.md
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the harness of this tree

from harness.statistics.bootstrap import CONFIDENCE, DRAWS, TAIL, draw_images, ratios  # noqa: E402
from harness.statistics.hardest import worst_opponents  # noqa: E402
from harness.statistics.ranking import adjusted_tests, images_to_separate, paired_tests, rank_intervals, tiers  # noqa: E402
from harness.statistics.wins import Wins  # noqa: E402

Array = npt.NDArray[np.float64]
NODES, MASS = np.polynomial.hermite_e.hermegauss(181)
MASS = MASS / MASS.sum()

SIZES, SHARES, SPREADS = (20, 100, 1000), (0.5, 0.9, 0.99), (1.0, 3.0)


def average(chances: Array) -> Array:
    """The mean over images of chances at NODES of ease, the last axis."""
    return chances @ MASS


def level(share: float, spread: float) -> float:
    """The level at which a submission's true share is `share`."""
    return float(brentq(lambda mu: average(expit(mu + spread * NODES)) - share, -80, 80))


def percentile(numerators: Array, denominators: Array, seed: int) -> Array:
    """The usual interval, K x 2: percentiles over draws of images with replacement; draws without any are left out."""
    images = numerators.shape[1]
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(images, np.full(images, 1 / images), size=DRAWS).astype(float)
    with np.errstate(invalid="ignore"):
        drawn = (numerators @ weights.T) / np.atleast_2d(denominators @ weights.T)
    return np.nanquantile(drawn, [TAIL, 1 - TAIL], axis=1).T


def held(bounds: Array, truth: float) -> float:
    """How often the truth is between K x 2 bounds; where they are nan it is nowhere."""
    return float(((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean())


# --- intervals: each gives numerators, denominators, the truth, and the least that a numerator may be


def mean_share(
    generator: np.random.Generator, tables: int, images: int, opponents: int, share: float, spread: float
) -> tuple[Array, Array, float, float]:
    """The score, or with one opponent clean accuracy."""
    ease = generator.standard_normal((tables, images))
    points = generator.binomial(opponents, expit(level(share, spread) + spread * ease))
    return points, np.full(images, opponents), share, 0.0


def where_clean_correct(
    generator: np.random.Generator, tables: int, images: int, opponents: int, share: float, spread: float
) -> tuple[Array, Array, float, float]:
    """Success of an attack on images that each of its opponents has right with chance 0.9 when clean: the harder the
    image, the easier for the attack and the rarer right.
    """
    right, win = level(0.9, spread), level(share, spread)
    ease = generator.standard_normal((tables, images))
    possible = generator.binomial(opponents, expit(right + spread * ease))
    won = generator.binomial(possible, expit(win - spread * ease))
    both = average(expit(right + spread * NODES) * expit(win - spread * NODES))
    return won, possible, float(both / average(expit(right + spread * NODES))), 0.0


def one_of_four_budgets(
    generator: np.random.Generator, tables: int, images: int, opponents: int, share: float, spread: float
) -> tuple[Array, Array, float, float]:
    """The share at one of the budgets of `rotate`, which every fourth image has."""
    points, possible, truth, least = mean_share(generator, tables, images, opponents, share, spread)
    there = np.arange(images) % 4 == 0
    return points * there, possible * there, truth, least


def difference_of_two(
    generator: np.random.Generator, tables: int, images: int, opponents: int, share: float, spread: float
) -> tuple[Array, Array, float, float]:
    """One of true share `share`, the other a tenth of what it loses or wins worse, on the same images."""
    other = share - min(share, 1 - share) / 10
    ease = generator.standard_normal((tables, images))
    one, two = (generator.binomial(opponents, expit(level(part, spread) + spread * ease)) for part in (share, other))
    return one - two, np.full(images, opponents), share - other, -1.0


INTERVALS = {
    "score": (mean_share, (10, 150)),
    "clean accuracy": (mean_share, (1,)),
    "success where clean is correct": (where_clean_correct, (10,)),
    "one budget of `rotate`": (one_of_four_budgets, (10,)),
    "difference of two": (difference_of_two, (1, 10)),
}


def interval_coverage(
    kind: str, images: int, opponents: int, share: float, spread: float, tables: int, seed: int = 0
) -> tuple[float, float, float]:
    """How often our interval holds, how often the percentile bootstrap's does, and our mean width."""
    generator = np.random.default_rng([seed, images, opponents, round(1000 * share), round(10 * spread)])
    above, below, truth, least = INTERVALS[kind][0](generator, tables, images, opponents, share, spread)
    found = ratios(above, below, draw_images(images, seed), least)[:, 1:]
    return held(found, truth), held(percentile(above, below, seed), truth), float(np.nanmean(found[:, 1] - found[:, 0]))


# --- worst case

FIELDS = ("tied", "one hardest", "graded")


def worst_case_coverage(
    field: str, images: int, opponents: int, share: float, epsilons: int, tables: int, seed: int = 0
) -> tuple[float, float, float, float]:
    """As `interval_coverage`, with the true share against the hardest of the field; and the mean error of the value."""
    generator = np.random.default_rng([seed, images, opponents, round(1000 * share), epsilons, FIELDS.index(field)])
    easiest = {"tied": share, "one hardest": share + 0.3, "graded": share + 0.4}[field]
    shares = np.linspace(share, easiest, opponents) if field == "graded" else np.full(opponents, easiest)
    shares[0] = share
    levels = np.array([level(each, 1.5) for each in shares])
    found, plain = [], []
    for _ in range(tables):
        chances = expit(levels[:, None, None] + 1.5 * generator.standard_normal(images))
        won = generator.random((opponents, epsilons, images)) < chances
        wins = Wins(("",), ("",) * opponents, won[None], np.ones((opponents, images), dtype=bool))
        found.append(worst_opponents(wins)[0][0])
        plain.append(_percentile_of_least(won, seed))
    values, lower, upper = np.array(found).T
    width, error = float((upper - lower).mean()), float(values.mean() - share)
    return held(np.stack([lower, upper], axis=1), share), held(np.array(plain), share), width, error


def _percentile_of_least(won: npt.NDArray[np.bool_], seed: int) -> Array:
    """The usual interval of a least share, 2: the least is sought in each of 200 draws. won: O x E x N."""
    images = won.shape[2]
    weights = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=200)
    drawn = (weights @ won.mean(axis=1).T / images).min(axis=1)
    return np.quantile(drawn, [TAIL, 1 - TAIL])


# --- ranking


def equal_points(
    generator: np.random.Generator, submissions: int, images: int, opponents: int, share: float, alike: float
) -> npt.NDArray[np.int64]:
    """Points S x N of submissions of one true share; each answer is with probability `alike` that of all others."""
    chances = expit(level(share, 1.5) + 1.5 * generator.standard_normal((1, images, 1)))
    own, common = (generator.random((size, images, opponents)) < chances for size in (submissions, 1))
    shared = generator.random((submissions, images, opponents)) < alike
    return np.where(shared, common, own).sum(axis=2)


def unlike_points(generator: np.random.Generator, submissions: int, images: int) -> npt.NDArray[np.int64]:
    """Points S x N, of ten, of one true share, 0.1: half of them win all on few images, half a little on all."""
    rare = 10 * (generator.random((submissions // 2, images)) < 0.1)
    return np.concatenate([rare, generator.binomial(10, 0.1, (submissions - submissions // 2, images))])


def false_separations(points: Iterator[npt.NDArray[np.int64]], opponents: int) -> tuple[float, float]:
    """How often any two of equal submissions are told apart, and how often there is more than one tier."""
    found = []
    for table in points:
        adjusted = adjusted_tests(table, opponents)
        found.append(((adjusted <= 1 - CONFIDENCE).any(), max(tiers(table.sum(axis=1), adjusted)) > 1))
    apart, tiered = np.mean(found, axis=0)
    return float(apart), float(tiered)


def rank_coverage(submissions: int, images: int, gap: float, tables: int, seed: int = 0) -> tuple[float, float]:
    """How often all rank intervals hold at once, where every two neighbours tie and pairs are `gap` apart; and their
    mean width.
    """
    generator = np.random.default_rng([seed, submissions, images, round(1000 * gap)])
    pair = np.arange(submissions) // 2
    shares = 0.5 + gap * (pair - pair.mean())
    levels = np.array([level(share, 1.5) for share in shares])[:, None]
    best = 1 + np.array([(shares > share).sum() for share in shares])
    last = np.array([(shares >= share).sum() for share in shares])
    hits, widths = 0, []
    for _ in range(tables):
        points = generator.binomial(10, expit(levels + 1.5 * generator.standard_normal(images)))
        found = rank_intervals(points.sum(axis=1), adjusted_tests(points, 10))
        hits += bool(((found[:, 0] <= best) & (last <= found[:, 1])).all())
        widths.append((found[:, 1] - found[:, 0]).mean())
    return hits / tables, float(np.mean(widths))


def power(better: float, worse: float, opponents: int, tables: int, seed: int = 0) -> tuple[int, float]:
    """How many images are said to separate two, from many images of theirs, and how often so many do."""
    generator = np.random.default_rng([seed, round(1000 * better), round(1000 * worse), opponents])
    levels = np.array([level(better, 1.5), level(worse, 1.5)])[:, None]

    def draw(images: int) -> npt.NDArray[np.int64]:
        return generator.binomial(opponents, expit(levels + 1.5 * generator.standard_normal(images)))

    needed = int(images_to_separate(draw(400_000), opponents)[0, 1])
    return needed, float(
        np.mean([paired_tests(draw(needed), opponents)[0, 1] <= 1 - CONFIDENCE for _ in range(tables)])
    )


# --- the tables


def interval_rows(tables: int) -> Iterator[list[str]]:
    for kind, (_, opponents) in INTERVALS.items():
        for many, images, share, spread in product(opponents, SIZES, SHARES, SPREADS):
            ours, plain, width = interval_coverage(kind, images, many, share, spread, tables)
            yield [kind, *map(str, (many, images, share, spread)), _p(ours), _p(plain), f"{width:.3f}"]


def worst_case_rows(tables: int) -> Iterator[list[str]]:
    for field, opponents, images, share, epsilons in product(FIELDS, (5, 50), SIZES, (0.05, 0.4), (1, 4)):
        ours, plain, width, error = worst_case_coverage(field, images, opponents, share, epsilons, tables)
        about = [field, *map(str, (opponents, epsilons, images, share))]
        yield [*about, _p(ours), _p(plain), f"{width:.3f}", f"{error:+.3f}"]


def separation_rows(tables: int) -> Iterator[list[str]]:
    generator = np.random.default_rng(5)
    for submissions, images in product((2, 8, 30), SIZES):
        for share, alike, opponents in product((0.5, 0.95), (0.0, 0.5, 0.95), (1, 10)):
            about = submissions, images, opponents, share, alike
            drawn = (equal_points(generator, *about) for _ in range(tables))
            yield [*map(str, about), *map(_p, false_separations(drawn, opponents))]
        drawn = (unlike_points(generator, submissions, images) for _ in range(tables))
        yield [*map(str, (submissions, images, 10, 0.1)), "unlike", *map(_p, false_separations(drawn, 10))]


def rank_rows(tables: int) -> Iterator[list[str]]:
    for submissions in (2, 8, 30):
        for images in SIZES:
            for gap in (0.0, 0.01, 0.05):
                if gap * submissions < 1:
                    found, width = rank_coverage(submissions, images, gap, tables)
                    yield [*map(str, (submissions, images, gap)), _p(found), f"{width:.1f}"]


def power_rows(tables: int) -> Iterator[list[str]]:
    for better, worse in ((0.99, 0.5), (0.9, 0.6), (0.6, 0.5), (0.55, 0.5), (0.99, 0.97)):
        for opponents in (1, 10):
            needed, told = power(better, worse, opponents, tables)
            yield [*map(str, (better, worse, opponents, needed)), _p(told)]


def _p(share: float) -> str:
    return f"{100 * share:.1f} %"


def show(title: str, header: list[str], rows: Iterator[list[str]]) -> None:
    print(f"\n## {title}\n\n| {' | '.join(header)} |\n|{' --- |' * len(header)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=4000)
    tables = parser.parse_args().tables
    wide = ["held", "percentile bootstrap", "width"]
    about = ["statistic", "opponents", "images", "share", "spread"]
    show("Intervals", [*about, *wide], interval_rows(tables))
    about = ["opponents are", "opponents", "epsilons", "images", "share"]
    show("Worst case", [*about, *wide, "mean error of the value"], worst_case_rows(tables // 8))
    about = ["submissions", "images", "opponents", "share", "alike"]
    show("Equal submissions", [*about, "told apart", "several tiers"], separation_rows(tables // 4))
    show("Rank intervals", ["submissions", "images", "gap", "all held", "width"], rank_rows(tables // 4))
    show("Images to separate", ["better", "worse", "opponents", "images", "told apart"], power_rows(tables))


if __name__ == "__main__":
    main()
