"""docs/paper.md: what was measured of the networks of several recipes, beside what was published.

The page is made of the flags that `training.measure` keeps; nothing in its tables is written by hand.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from training.findings import Number, Rates, Results, findings
from training.measure import Key
from training.recipe import Family, Study

PUBLISHED = Path(__file__).resolve().parent / "published.yaml"
COLUMNS = {"clean": "clean", "fgsm": "FGSM", "r_fgsm": "R+FGSM", "step_ll": "Step-LL", "pgd20": "PGD-20"}
STATEMENTS = {
    "transfer_over_white_box": "1. Adversarially trained: FGSM from the worst hold-out minus its own FGSM",
    "r_fgsm_over_fgsm_plain": "2. R+FGSM minus FGSM, white box, plain network",
    "r_fgsm_over_fgsm_adversarial": "2. R+FGSM minus FGSM, white box, adversarially trained network",
    "black_box_ratio": "3. Largest black-box error, ensemble-adversarial divided by adversarial (a ratio)",
    "pgd_adversarial": "4. PGD-20, white box, adversarially trained network",
    "pgd_ensemble": "4. PGD-20, white box, ensemble-adversarially trained network",
    "later_over_single_step": "5. Best later transfer attack minus best single step, ensemble-adversarial network",
}
HEAD = """\
# The paper, measured

Ensemble adversarial training after Tramèr et al., *Ensemble Adversarial Training: Attacks and Defenses*
(arXiv:1705.07204). This page is written by

    python -m training paper {recipes}

from networks that were trained and attacked with the committed recipes, one set for each seed. All figures are errors
in percent of all held-out images. `±` is the standard deviation over seeds, `(a to b)` the 95 % percentile interval of
a bootstrap over images. Attacks know the true class, and images are not rounded to grey levels, as in the paper.
A *hold-out* is a network that ensemble adversarial training never saw."""


@dataclass(frozen=True)
class Part:
    """One recipe and what was measured of its networks."""

    name: str
    study: Study
    results: Results


def write_page(parts: Sequence[Part]) -> str:
    """The page in Markdown."""
    sections = [HEAD.format(recipes=" ".join(part.name for part in parts))]
    for part in parts:
        sections += _part(part)
    return "\n\n".join(sections) + "\n"


def _part(part: Part) -> Iterator[str]:
    yield f"## {part.name}: {part.results.images} images, {part.results.seeds} seeds"
    for epsilon in part.study.epsilons:
        at = f"epsilon {epsilon:g}/255"
        yield f"### What must hold, {at}"
        yield "\n".join(_statements(part, epsilon))
        yield f"### Errors, {at}"
        yield "\n".join(_overview(part, epsilon))
        for plain, family in part.study.families.items():
            yield f"### From every hold-out, {plain}, {at}"
            yield "\n".join(_from_holdouts(part, plain, family, epsilon))
            yield f"### What breaks {family.ensemble} without seeing it, {at}"
            yield "\n".join(_later(part, family, epsilon))
    if any(name in _published() for plain, family in part.study.families.items() for name in family.members(plain)):
        yield "### Published"
        yield "\n".join(_published_rows(part))


def _statements(part: Part, epsilon: float) -> Iterator[str]:
    yield from _head("statement", part.study.families)
    columns = [findings(plain, family, epsilon) for plain, family in part.study.families.items()]
    for key, text in STATEMENTS.items():
        scale = 1.0 if key == "black_box_ratio" else 100.0
        yield _row(text, [_with_interval(part.results.number(column[key]), scale) for column in columns])


def _overview(part: Part, epsilon: float) -> Iterator[str]:
    yield from _head("network", [*COLUMNS.values(), "black box, largest", "black box, mean", "loss ratio of FGSM"])
    for plain, family in part.study.families.items():
        for name in family.members(plain):
            statistics = [partial(_white_box, name=name, attack=attack) for attack in COLUMNS]
            statistics += [partial(_largest, name=name), partial(_mean, name=name)]
            numbers = [part.results.number(_of(statistic, epsilon, family)) for statistic in statistics]
            ratio = part.results.number(lambda means, name=name: means[str(Key(epsilon, name, "loss_ratio", name))])
            yield _row(name, [*map(_with_deviation, numbers), _with_deviation(ratio)])


def _from_holdouts(part: Part, plain: str, family: Family, epsilon: float) -> Iterator[str]:
    names = family.members(plain)
    yield from _head("attack", names)
    rates = Rates(part.results.means, epsilon, family)
    for surrogate, attack in rates.black_box(plain):
        keys = [str(Key(epsilon, surrogate, attack, name)) for name in names]
        numbers = [part.results.number(lambda means, key=key: means[key]) for key in keys]
        yield _row(f"{attack} on {surrogate}", map(_with_deviation, numbers))


def _later(part: Part, family: Family, epsilon: float, limit: int = 10) -> Iterator[str]:
    yield from _head("attack", [family.ensemble, family.adversarial])
    found = Rates(part.results.means, epsilon, family).later(family.ensemble)
    for surrogate, attack in sorted(found, key=lambda pair: -found[pair])[:limit]:
        keys = [str(Key(epsilon, surrogate, attack, name)) for name in (family.ensemble, family.adversarial)]
        numbers = [part.results.number(lambda means, key=key: means[key]) for key in keys]
        yield _row(f"{attack} on {surrogate}", map(_with_interval, numbers))


def _published_rows(part: Part) -> Iterator[str]:
    table = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    said = "read in the source" if table["verified"] else "not verified: noted from memory, for orientation only"
    yield f"{table['source']}; {said}."
    yield ""
    heads = ["clean", "fgsm", "r_fgsm", "black_box_max", "black_box_mean"]
    yield from _head("network", heads)
    for name, figures in table["rows"].items():
        yield _row(name, [str(figures.get(head, "")) for head in heads])


def _published() -> Mapping[str, Mapping[str, float]]:
    rows: Mapping[str, Mapping[str, float]] = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))["rows"]
    return rows


def _of(statistic: Callable[[Rates], float], epsilon: float, family: Family) -> Callable[[Mapping[str, float]], float]:
    return lambda means: statistic(Rates(means, epsilon, family))


def _white_box(rates: Rates, name: str, attack: str) -> float:
    return rates.clean(name) if attack == "clean" else rates.white_box(name, attack)


def _largest(rates: Rates, name: str) -> float:
    return max(rates.black_box(name).values())


def _mean(rates: Rates, name: str) -> float:
    found = rates.black_box(name).values()
    return sum(found) / len(found)


def _head(first: str, others: Sequence[str] | Mapping[str, object]) -> Iterator[str]:
    yield _row(first, others)
    yield "|---|" + "---:|" * len(others)


def _row(first: str, cells: Iterator[str] | Sequence[str] | Mapping[str, object]) -> str:
    return f"| {first} | {' | '.join(cells)} |"


def _with_deviation(number: Number) -> str:
    value = f"{100 * number.value:.1f}"
    return value if number.deviation != number.deviation else f"{value} ± {100 * number.deviation:.1f}"


def _with_interval(number: Number, scale: float = 100.0) -> str:
    digits = 1 if scale > 1 else 2
    low, high = (f"{scale * value:.{digits}f}" for value in (number.low, number.high))
    spread = "" if number.deviation != number.deviation else f" ± {scale * number.deviation:.{digits}f}"
    return f"{scale * number.value:.{digits}f}{spread} ({low} to {high})"
