"""How an attack uses its budget: what it did to the pixels before the referee forced them into the ball."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from harness.check.report import Check, Level, Report, count, some
from harness.images import Pixels

Histogram = npt.NDArray[np.int64]
"""511 counts: how many colour values differ by -255..255 from the clean image's (adversarial minus clean)."""

ZERO = 255
"""The index of difference 0."""

FEWEST = 10
"""Values from which on a one-sided pattern is believed: as chance alone it would have odds of 1 to 1024."""

MOST_CUT = 2.5
"""At -(epsilon + 1) lie at most so many times the values of -epsilon where floats are cut. Over all grey levels, in
float32 and float64, with inputs in [0, 1], [-1, 1] or normalised as for ImageNet, and epsilon 4, 8, 12, 16 and 76,
it was at most 2.2 times."""

SMALL_SHARE = 0.5
"""An attack whose largest change is at most this share of the budget leaves it unused."""


def differences(adversarial: Pixels, clean: Pixels) -> Histogram:
    """The histogram of one image. Both are height x width x 3, uint8."""
    delta = adversarial.astype(np.int16) - clean
    return np.bincount((delta + ZERO).ravel(), minlength=2 * ZERO + 1)


def reach(histogram: Histogram) -> int:
    """The largest |difference|, on the 0..255 scale; 0 where nothing differs."""
    (found,) = np.nonzero(histogram)
    return int(np.abs(found - ZERO).max(initial=0))


def exceeding(histogram: Histogram, epsilon: int) -> int:
    """How many colour values lie outside the budget."""
    return int(histogram.sum() - histogram[max(0, ZERO - epsilon) : ZERO + epsilon + 1].sum())


def looks_truncated(histogram: Histogram, epsilon: int) -> bool:
    """Whether floats were cut instead of rounded on their way to bytes.

    x - epsilon and x + epsilon are rarely exact in floats, and what comes out a hair too small loses a whole grey
    level when it is cut: upwards that stays in the ball, downwards it ends exactly one level below it. So nothing
    lies outside but at -(epsilon + 1); only a part of what was to be at -epsilon does; and the other side comes up
    to its bound and never over it. A wrong bound has no values left at -epsilon, or nothing on the other side.

    Where nothing lies outside, it shows only in images that were to stay as they are: values are one level lower,
    or equal.
    """
    outside, below = exceeding(histogram, epsilon), int(histogram[max(0, ZERO - epsilon - 1)])
    if outside:
        bottom, top = int(histogram[ZERO - epsilon]), int(histogram[ZERO + epsilon - 1 : ZERO + epsilon + 1].sum())
        return outside == below >= FEWEST and top >= FEWEST and below <= MOST_CUT * bottom
    lower = int(histogram[ZERO - 1])
    return lower >= FEWEST and lower + int(histogram[ZERO]) == int(histogram.sum())


def audit(histograms: Mapping[str, Histogram], epsilon: int, report: Report) -> None:
    """What is to say about one budget. histograms: image id -> its histogram, as far as images were readable."""
    if not histograms:
        report.add(Level.SKIPPED, Check.EXCEEDED, f"budget of epsilon {epsilon}: no image could be read")
        return
    _audit_excess(histograms, epsilon, report)
    if epsilon:
        _audit_use(histograms, epsilon, report)


def _audit_excess(histograms: Mapping[str, Histogram], epsilon: int, report: Report) -> None:
    over = [name for name, histogram in histograms.items() if exceeding(histogram, epsilon)]
    total = np.sum([*histograms.values()], axis=0)
    outside, largest = exceeding(total, epsilon), reach(total)
    truncated = looks_truncated(total, epsilon)
    values = {"epsilon": epsilon, "exceeding": outside, "largest": largest, "truncated": int(truncated)}
    if not outside:
        text = f"epsilon {epsilon}: all {count(len(histograms), 'image')} stay within, the largest change is {largest}"
        report.add(Level.OK, Check.EXCEEDED, text, values=values)
        return
    levels = count(outside, "grey level")
    exceed = f"{levels} of {count(len(over), 'image')} exceed{'s' if outside == 1 else ''} the budget"
    if truncated:
        text = (
            f"epsilon {epsilon}: you truncate instead of rounding: {exceed}, all of them one level too low; "
            "round before you convert to bytes, as in np.rint(x).astype(np.uint8)"
        )
    else:
        text = (
            f"epsilon {epsilon}: {exceed}, the worst by {largest - epsilon}; the referee clips them, "
            "so clip to the ball yourself, and round"
        )
    report.add(Level.ERROR, Check.EXCEEDED, text, images=over, values=values)


def _audit_use(histograms: Mapping[str, Histogram], epsilon: int, report: Report) -> None:
    same = [name for name, histogram in histograms.items() if not reach(histogram)]
    changed = {name: histogram for name, histogram in histograms.items() if name not in same}
    if same:
        text = f"epsilon {epsilon}: {count(len(same), 'image')} of {len(histograms)} came back unchanged ({some(same)})"
        told = f"{text}; an unchanged image fools nobody"
        report.add(Level.WARNING, Check.UNCHANGED, told, images=same, values={"epsilon": epsilon})
    if not changed:
        return
    total = np.sum([*changed.values()], axis=0)
    largest = reach(total)
    values = {"epsilon": epsilon, "largest": largest}
    if largest > SMALL_SHARE * epsilon:
        return
    text = f"epsilon {epsilon}: the largest change of any image is {largest}; "
    if looks_truncated(total, epsilon):
        text += "values only ever fall by one level, so you truncate instead of rounding"
    else:
        text += "much of the budget is unused; is MAX_EPSILON read as an integer on the 0..255 scale?"
    report.add(Level.WARNING, Check.UNUSED, text, images=list(changed), values=values)
