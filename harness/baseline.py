"""Do the labels of a dataset fit its images? A defense that is known to be good is asked about some of them.

Labels of ImageNet are counted from 0 by some and from 1 by others. A list of the wrong base looks in order, and makes
every score of a competition worthless; only the answers of a good defense give it away.
"""

import glob
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from pathlib import Path
from random import Random

from harness.bench import Bench, open_bench, open_seat
from harness.config import DatasetConfig, SandboxName, Tournament
from harness.dataset import Dataset, LabelSpace, Picture
from harness.errors import UserError
from harness.plan import defense_call
from harness.preparation import OWN_SUBMISSIONS, Say, is_own
from harness.records import Outcome, Role, Verdict
from harness.sandbox import choose_sandbox
from harness.submission import Submission

DEFAULT_BASELINE = OWN_SUBMISSIONS / "defenses" / "efficientnet_lite0"
DEFAULT_SPACE = "imagenet-1001"
"""The label space that DEFAULT_BASELINE answers in."""

SAMPLE = 40
SEED = 2017
FEWEST = 4
"""With fewer pictures the intervals of two bases always overlap, and nothing could be said."""

LOW = 0.5
Z = 1.959964
"""The normal quantile of a two-sided 95 % interval."""

SHIFTS = (0, 1, -1)
"""What is added to a true label before it is compared."""

HINT = (
    "hint: that is low, and no other label base fits better; do the rows belong to these images, were the images made "
    "as the competition made them, and are the classes those of {space}?"
)


class BaselineFailedError(UserError):
    """The baseline gave no answers that could be compared; that says nothing about the labels."""


@dataclass(frozen=True)
class Baseline:
    """A defense to compare with. folder: of the submission, or its archive. trusted: plays without isolation too.

    sandbox: None stands for `process` where the submission is the project's own, else for `docker`.
    """

    folder: Path
    sandbox: SandboxName | None = None
    trusted: bool = False

    @property
    def sandbox_name(self) -> str:
        return choose_sandbox(self.sandbox or ("process" if is_own(self.folder) else "docker"))


@dataclass(frozen=True)
class Agreement:
    """answers: how many a baseline gave. hits: how many equal the true label plus each of SHIFTS."""

    answers: int
    hits: dict[int, int]

    def share(self, shift: int) -> float:
        return self.hits[shift] / self.answers

    def interval(self, shift: int) -> tuple[float, float]:
        return wilson_interval(self.hits[shift], self.answers)

    @property
    def better_shift(self) -> int | None:
        """The shift that fits far better than none: its 95 % interval lies wholly above the other."""
        best = max(SHIFTS, key=lambda shift: self.hits[shift])
        return best if self.interval(best)[0] > self.interval(0)[1] else None


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` >= 1. Source: Wilson, JASA 22 (1927), pages 209-212."""
    share, square = hits / count, Z * Z
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = Z / (1 + square / count) * sqrt(share * (1 - share) / count + square / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def sample(pictures: Sequence[Picture], size: int = SAMPLE) -> list[Picture]:
    """At most `size` pictures: one of each of so many equal stretches of the list, drawn with a fixed seed."""
    if len(pictures) <= size:
        return list(pictures)
    generator = Random(SEED)
    edges = [number * len(pictures) // size for number in range(size + 1)]
    return [pictures[start + int(generator.random() * (end - start))] for start, end in pairwise(edges)]


def agreement(baseline: Baseline, dataset: Dataset, say: Say) -> Agreement:
    """What the baseline answers on a sample, against the labels. Nothing that is computed is kept.

    Raises: UserError where the baseline is no defense for this dataset, BaselineFailedError where it failed.
    """
    with open_bench(replace(dataset, pictures=tuple(sample(dataset.pictures)))) as bench:
        answers = _answers(baseline, bench, say)
        given = [(answer, image.true_label) for answer, image in zip(answers, bench.images, strict=True)]
    hits = {shift: sum(answer == label + shift for answer, label in given) for shift in SHIFTS}
    return Agreement(len(given), hits)


def _answers(baseline: Baseline, bench: Bench, say: Say) -> list[int | None]:
    path = baseline.folder.resolve()
    tournament = Tournament(
        name="baseline", dataset=DatasetConfig(path=path), submissions=[glob.escape(str(path))], seed=SEED, gpu=False,
        output=bench.store.path, trust_submissions=baseline.trusted,
    )  # fmt: skip
    with open_seat(bench, tournament, baseline.sandbox_name, say) as seat:
        _check(seat.player.submission, bench.labels)
        say(f"asking {seat.player.name} about {len(bench.images)} images")
        outcome = seat.play(defense_call(seat.player, {image.clean for image in bench.images}, len(bench.images)))
    if outcome.verdict is not Verdict.OK:
        raise BaselineFailedError(f"{seat.player.name}: ended with {_reason(outcome)}; the labels were not compared")
    labels = {answer.digest: answer.label for answer in outcome.predictions}
    return [labels[image.clean] for image in bench.images]


def _check(submission: Submission, labels: LabelSpace) -> None:
    """Raises: UserError where it is no defense, or answers in another label space."""
    if submission.role is not Role.DEFENSE:
        raise UserError(f"{submission.name}: is of the type {submission.role}; a baseline is a defense, name another")
    if submission.metadata.labels not in (None, labels.space):
        raise UserError(
            f"{submission.name}: answers in the label space {submission.metadata.labels}, the dataset is labelled in "
            f"{labels.space}; name another baseline"
        )


def _reason(outcome: Outcome) -> str:
    said = [line for line in outcome.log.splitlines() if line.strip()]
    return f"{outcome.verdict} ({said[-1].strip()})" if said else str(outcome.verdict)


def judge(found: Agreement, csv: Path, name: str, labels: LabelSpace) -> list[str]:
    """What a person is told about the labels of `csv`. Raises: UserError where they look shifted."""
    shift = found.better_shift
    if shift:
        raise UserError(_looks_shifted(found, shift, csv, name, labels))
    low, high = (_percent(bound, 1) for bound in found.interval(0))
    line = (
        f"{name} answers {found.hits[0]} of {found.answers} images as labelled: "
        f"clean accuracy {_percent(found.share(0), 1)}, 95 % interval {low} to {high}"
    )
    return [line, *([HINT.format(space=labels.space)] if found.interval(0)[1] < LOW else [])]


def _looks_shifted(found: Agreement, shift: int, csv: Path, name: str, labels: LabelSpace) -> str:
    looks = "one too high" if shift < 0 else "0-based" if labels.first == 1 else "one too low"
    mend = "add 1 to" if shift > 0 else "subtract 1 from"
    return (
        f"{csv}: the labels look {looks}: {_percent(found.share(shift))} of the answers of {name} equal "
        f"TrueLabel {'+' if shift > 0 else '-'} 1, {_percent(found.share(0))} equal TrueLabel; "
        f"{mend} TrueLabel and TargetClass of every row"
    )


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"
