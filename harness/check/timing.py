"""How long a full batch would take, and how much memory, from calls of different size."""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.check.report import Check, Level, Report, count
from harness.line import Line
from harness.records import Limits, Outcome, Verdict

SLIM = 2.0
"""Below this headroom a slower machine could end the call."""

ENOUGH = 4
"""From a batch of a fraction of 1 / ENOUGH on, what a full one would need beyond the limit is said as a warning."""

MIB = 1 << 20


def through(small: tuple[int, float], large: tuple[int, float]) -> Line:
    """The line through two (images, cost); where the larger batch cost less, the cost is fixed and the higher one."""
    (few, low), (many, high) = small, large
    each = (high - low) / (many - few)
    if each <= 0:
        return Line(max(low, high), 0.0)
    return Line(max(0.0, low - each * few), each)


@dataclass(frozen=True)
class Sizes:
    """What calls of the smallest and of the largest size took. seconds: the least of each, as whatever else the
    machine does only adds to it; memory: the most, in bytes, 0 where nobody could look.
    """

    few: int
    many: int
    seconds: tuple[float, float]
    memory: tuple[int, int]


def sizes(outcomes: Iterable[Outcome]) -> Sizes | None:
    """Of the calls that ended well; None where those are all of one size."""
    found: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.verdict is Verdict.OK:
            found.setdefault(len(outcome.images) + len(outcome.predictions), []).append(outcome)
    if len(found) < 2:
        return None
    few, many = min(found), max(found)
    low, high = (min(one.seconds for one in found[size]) for size in (few, many))
    small, large = (max(one.peak_memory for one in found[size]) for size in (few, many))
    return Sizes(few, many, (low, high), (small, large))


def judge(outcomes: Iterable[Outcome], batch: int, limits: Limits, cores: int, report: Report) -> None:
    """What a batch of `batch` images would need, by calls of different size."""
    seen = sizes(outcomes)
    if seen is None:
        why = "that takes two calls of different size that end well"
        report.add(Level.SKIPPED, Check.SECONDS, f"time and memory of a full batch are not known: {why}")
        return
    _judge_seconds(seen, batch, limits.seconds, cores, report)
    _judge_memory(seen, batch, limits.memory, report)


def _judge_seconds(seen: Sizes, batch: int, limit: float, cores: int, report: Report) -> None:
    line = through((seen.few, seen.seconds[0]), (seen.many, seen.seconds[1]))
    most = max(1.0, batch / seen.many) * line.at(seen.many)  # as if nothing of it were the start
    needed = line.at(batch) if line.each else most
    headroom = limit / max(needed, 1e-9)
    values = {
        "batch": batch, "seconds": round(needed, 3), "limit": limit, "headroom": round(headroom, 3),
        "fixed": round(line.fixed, 4), "each": round(line.each, 5), "cores": cores,
    }  # fmt: skip
    about = f"{_number(needed)} s of {_number(limit)} s: {_number(headroom)} times headroom"
    if line.each:
        level, advice = _advice(headroom)
        parts = f"{_number(line.fixed)} s to start, {_number(line.each)} s for each image, on {count(cores, 'core')}"
        text = f"a batch of {batch} would take about {about} ({parts}){advice}"
    else:
        level = Level.OK if headroom >= SLIM else Level.SKIPPED
        why = f"{seen.many} images took no longer than {seen.few}, so more --images would tell it better"
        text = f"a batch of {batch} would take at most about {about} ({why})"
    report.add(level, Check.SECONDS, text, values=values)


def _advice(headroom: float) -> tuple[Level, str]:
    if headroom < 1:
        mend = "do less for each image, or write each as soon as it is ready"
        return Level.ERROR, f"; it would be ended before it is done: {mend}"
    if headroom < SLIM:
        return Level.WARNING, "; the organiser's machine may be slower: leave twice the time"
    return Level.OK, ""


def _judge_memory(seen: Sizes, batch: int, limit: int, report: Report) -> None:
    """Many programs take a few images at a time, so that memory stops growing: few images cannot tell that."""
    peak = max(seen.memory)
    if not peak:
        report.add(Level.SKIPPED, Check.MEMORY, "peak memory is not known: the calls were too short to look at it")
        return
    known = all(seen.memory)
    line = through((seen.few, seen.memory[0]), (seen.many, seen.memory[1])) if known else Line(peak, 0.0)
    needed = max(peak, round(line.at(batch)))
    text = f"peak memory {peak // MIB} MiB with {count(seen.many, 'image')}; a batch of {batch} would need "
    share = f"{needed // MIB} MiB of {limit // MIB} MiB"
    level = Level.OK
    if needed <= limit:
        text += f"about {share}: {_number(limit / needed)} times headroom"
    elif seen.many * ENOUGH >= batch:
        level, text = Level.WARNING, f"{text}about {share}; take the images a few at a time"
    else:
        level, text = Level.SKIPPED, f"{text}{share} if it went on growing so; more --images would tell"
    values = {"batch": batch, "peak": peak, "bytes": needed, "limit": limit}
    report.add(level, Check.MEMORY, text, values=values)


def _number(value: float) -> str:
    """Two digits that count: 0.034, 4.1, 41, 480."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
