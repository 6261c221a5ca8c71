"""docs/paper.md: what was measured of the networks of several recipes, beside what was published.

The page is made of the flags that `training.measure` keeps; nothing in its tables is written by hand.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

import yaml

from training.findings import FINDINGS, Number, Rates, Results, Statistic
from training.measure import SINGLE_STEP, Key
from training.recipe import Family, Study

PUBLISHED = Path(__file__).resolve().parent / "published.yaml"
COLUMNS = {"clean": "clean", "fgsm": "FGSM", "r_fgsm": "R+FGSM", "step_ll": "Step-LL", "pgd20": "PGD-20"}
SHOWN = 10
Pair = tuple[str, str]
"""Surrogate and attack."""

HEAD = """\
# The paper, measured

Ensemble adversarial training after Tramèr et al., *Ensemble Adversarial Training: Attacks and Defenses*
(arXiv:1705.07204). This page is written by

    python -m training paper {recipes}

from networks that were trained and attacked with the committed recipes, one set for each seed. Figures are errors in
percent of held-out images, the mean over seeds; `±` is the standard deviation over seeds, `(a to b)` the 95 %
percentile interval of a bootstrap over seeds and images. A figure that is the largest of several is chosen on the
images that it is reported on, which flatters it a little; in each draw of the bootstrap it is chosen anew. Attacks know
the true class, and images are not rounded to grey levels, as in the paper. A *hold-out* has an architecture that
ensemble adversarial training never saw. The *loss ratio* is the mean loss after FGSM as a share of the mean of the
largest loss that was found in the ball."""


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


def figures(part: Part, folder: Path) -> None:
    """Writes the pictures that the page shows below `folder`, where the page itself lies."""
    from training.figure import draw  # needs matplotlib, which nothing else does

    for epsilon in part.study.epsilons:
        for plain, family in part.study.families.items():
            path = folder / figure_of(part.name, plain, epsilon)
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(part.results, plain, family, epsilon, path)


def figure_of(recipe: str, plain: str, epsilon: float) -> str:
    """Where a family's picture lies, seen from the page."""
    return f"images/paper-{Path(recipe).stem}-{plain}-{epsilon:g}.svg"


def _part(part: Part) -> Iterator[str]:
    images, later = part.results.images, part.results.later_images
    yield f"## {part.name}: {_counted(part.results.seeds)}, {images} images ({later} for iterative attacks and losses)"
    for epsilon in part.study.epsilons:
        at = f"epsilon {epsilon:g}/255"
        yield f"### What must hold, {at}"
        yield "\n".join(_statements(part, epsilon))
        yield f"### Errors, {at}"
        yield "\n".join(_overview(part, epsilon))
        for plain, family in part.study.families.items():
            yield f"![What {', '.join(family.members(plain))} withstand]({figure_of(part.name, plain, epsilon)})"
            yield f"### From every hold-out, {plain}, {at}"
            yield "\n".join(_from_holdouts(part, plain, family, epsilon))
            yield f"### What breaks {family.ensemble} without seeing it, {at}, first {part.results.later_images} images"
            yield "\n".join(_later(part, family, epsilon))
    if any(name in _published() for plain, family in part.study.families.items() for name in family.members(plain)):
        yield "### Published"
        yield "\n".join(_published_rows(part))


def _counted(seeds: int) -> str:
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def _statements(part: Part, epsilon: float) -> Iterator[str]:
    yield from _head("statement", part.study.families)
    for finding in FINDINGS:
        numbers = [
            finding.number(part.results, plain, family, epsilon) for plain, family in part.study.families.items()
        ]
        yield _row(finding.text, [_with_interval(number, finding.scale) for number in numbers])


def _overview(part: Part, epsilon: float) -> Iterator[str]:
    yield from _head("network", [*COLUMNS.values(), "black box, largest", "black box, mean", "loss ratio of FGSM"])
    for plain, family in part.study.families.items():
        for name in family.members(plain):
            all_images, first = part.results.all, part.results.first
            columns = [(part.results.of(attack), partial(_white_box, name=name, attack=attack)) for attack in COLUMNS]
            columns += [(all_images, partial(over_all, name=name)) for over_all in (_largest, _mean)]
            columns.append((first, partial(Rates.loss_ratio, network=name)))
            numbers = [images.number(_of(statistic, epsilon, family)) for images, statistic in columns]
            yield _row(name, map(_with_deviation, numbers))


def _from_holdouts(part: Part, plain: str, family: Family, epsilon: float) -> Iterator[str]:
    names = family.members(plain)
    yield from _head("attack", names)
    for surrogate in family.holdouts:
        for attack in SINGLE_STEP:
            keys = [Key(epsilon, surrogate, attack, name) for name in names]
            numbers = [part.results.all.number(itemgetter(key)) for key in keys]
            yield _row(f"{attack} on {surrogate}", map(_with_deviation, numbers))


def _later(part: Part, family: Family, epsilon: float) -> Iterator[str]:
    """The worst ones, and for comparison the worst single step from the same surrogates."""
    names = (family.ensemble, family.adversarial)
    yield from _head("attack", names)
    rates = [Rates(means, epsilon, family) for means in part.results.first.of_seeds]
    later = _mean_over_seeds([one.later(family.ensemble) for one in rates])
    single = _mean_over_seeds([one.single_step(family.ensemble) for one in rates])
    for surrogate, attack in (
        *sorted(later, key=lambda pair: -later[pair])[:SHOWN],
        max(single, key=single.__getitem__),
    ):
        keys = [Key(epsilon, surrogate, attack, name) for name in names]
        numbers = [part.results.first.number(itemgetter(key)) for key in keys]
        yield _row(f"{attack} on {surrogate}", map(_with_interval, numbers))


def _mean_over_seeds(found: Sequence[Mapping[Pair, float]]) -> dict[Pair, float]:
    return {pair: sum(one[pair] for one in found) / len(found) for pair in found[0]}


def _published_rows(part: Part) -> Iterator[str]:
    table = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    said = "read in the source" if table["verified"] else "not verified: noted from memory, for orientation only"
    yield f"{table['source']}; {said}. Its black-box attacks are not quite the four single steps of the tables above."
    yield ""
    heads = ["clean", "fgsm", "r_fgsm", "black_box_max", "black_box_mean"]
    yield from _head("network", heads)
    for name, figures in table["rows"].items():
        yield _row(name, [str(figures.get(head, "")) for head in heads])


def _published() -> Mapping[str, Mapping[str, float]]:
    rows: Mapping[str, Mapping[str, float]] = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))["rows"]
    return rows


def _of(statistic: Callable[[Rates], float], epsilon: float, family: Family) -> Statistic:
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
