"""A defense's answers against the labels: the label space, the base that they are counted from, and how many fit."""

from collections import Counter
from collections.abc import Sequence

from harness.baseline import FEWEST, LOW, SHIFTS, Agreement
from harness.check.report import Check, Level, Report, count
from harness.dataset import LabelSpace


def judge(pairs: Sequence[tuple[int | None, int]], labels: LabelSpace, report: Report) -> None:
    """pairs: (answer, true label) of every image asked about; the answer is None where there was none that counts."""
    given = [(answer, true) for answer, true in pairs if answer is not None]
    if not given:
        report.add(Level.SKIPPED, Check.ACCURACY, "no answer counts, so there is no accuracy to speak of")
        return
    _judge_constant(given, report)
    hits = {shift: sum(answer == true + shift for answer, true in given) for shift in SHIFTS}
    _judge_accuracy(Agreement(len(given), hits), labels, report)


def _judge_constant(given: Sequence[tuple[int, int]], report: Report) -> None:
    (answer, times), *_ = Counter(answer for answer, _ in given).most_common(1)
    if times == len(given) >= FEWEST and len({true for _, true in given}) > 1:
        text = f"all {times} answers are {answer}; does it read the images, and are its weights loaded?"
        report.add(Level.WARNING, Check.CONSTANT, text, values={"answer": answer, "answers": times})


def _judge_accuracy(found: Agreement, labels: LabelSpace, report: Report) -> None:
    low, high = found.interval(0)
    values = {
        "answers": found.answers, "correct": found.hits[0], "low": round(low, 4), "high": round(high, 4),
        "one_too_low": found.hits[-1], "one_too_high": found.hits[1],
    }  # fmt: skip
    right = f"{found.hits[0]} of {count(found.answers, 'clean image')} as labelled"
    if found.answers >= FEWEST and (shift := found.better_shift):
        way, mend = ("low", "add 1 to") if shift < 0 else ("high", "subtract 1 from")
        base = f"labels of {labels.space} are {labels.first}..{labels.last}"
        text = f"{found.hits[shift]} of {found.answers} answers are one too {way}, {right}: {base}; {mend} every answer"
        report.add(Level.ERROR, Check.BASE, text, values=values)
        return
    text = f"clean accuracy: {right}, 95 % interval {100 * low:.0f} % to {100 * high:.0f} %"
    if high < LOW:
        hint = "that is low, and no other label base fits better; is the input prepared as the network expects it?"
        report.add(Level.WARNING, Check.ACCURACY, f"{text}; {hint}", values=values)
    else:
        report.add(Level.OK, Check.ACCURACY, text, values=values)
