"""The first calls: how they ended, and what was wrong with what they left."""

from collections.abc import Iterator, Mapping, Sequence

from harness.check.report import Check, Level, Report, count, some
from harness.records import Fault, Outcome, Verdict

LOG_LINES = 8

ADVICE = {
    Verdict.EXIT: "read the last lines of its log",
    Verdict.TIMEOUT: "be faster, or write each image as soon as it is ready: what is written by then counts",
    Verdict.OUT_OF_MEMORY: "take the images a few at a time",
    Verdict.BAD_OUTPUT: "see what was wrong with its output",
}

MENDING = {
    Fault.MISSING: "there is no output for them; an attack writes one PNG, a defense one row for each input image",
    Fault.NOT_A_FILE: "a link or no regular file; write the file itself",
    Fault.TOO_LARGE: "larger than any honest file of its kind; leave out what is not pixels or rows",
    Fault.NOT_PNG: "no PNG file; save it in that format, whatever its name ends in",
    Fault.CORRUPT: "a PNG that cannot be decoded; close the file before the program ends",
    Fault.WRONG_MODE: "not 8-bit RGB; convert it: no grey, palette, alpha or 16-bit",
    Fault.WRONG_SIZE: "not of the input's width and height; scale it back, nothing is repaired here",
    Fault.NOT_AN_INTEGER: "the label is no integer; write it as 42, without quotes, decimals or names",
    Fault.OUTSIDE_LABELS: "the label is outside the label space; count classes as the dataset does",
    Fault.DUPLICATE: "two rows about one image, which cancel each other; write one",
}


def judge(
    outcomes: Sequence[Outcome],
    ids: Mapping[str, str],
    pictures: Sequence[str],
    how: str,
    limit: float,
    report: Report,
) -> bool:
    """Whether all calls ended well. ids: digest of a clean image -> its id. pictures: ids of all that was asked.

    how: 'on 8 images at epsilon 16'. limit: seconds of a call.
    """  # fmt: skip
    failed = [outcome for outcome in outcomes if outcome.verdict is not Verdict.OK]
    outcome = failed[0] if failed else outcomes[-1]
    seconds = sum(one.seconds for one in outcomes)
    values = {
        "verdict": outcome.verdict.value, "exit_code": outcome.exit_code, "seconds": round(seconds, 3),
        "images": len(pictures), "limit": limit,
    }  # fmt: skip
    if failed:
        report.add(Level.ERROR, Check.VERDICT, f"{how}: {ending(outcome)}", values=values, details=said(outcome))
    else:
        report.add(Level.OK, Check.VERDICT, f"{how}: ended well in {seconds:.1f} s", values=values)
    _judge_images(outcomes, ids, pictures, report)
    _judge_unknown(outcomes, report)
    return not failed


def ending(outcome: Outcome) -> str:
    """How a call failed, and what to do."""
    code = "" if outcome.exit_code is None else f" (exit code {outcome.exit_code})"
    return f"ended with {outcome.verdict}{code} after {outcome.seconds:.1f} s; {ADVICE[outcome.verdict]}"


def said(outcome: Outcome) -> list[str]:
    """The last lines of its log."""
    return [line for line in outcome.log.splitlines() if line.strip()][-LOG_LINES:]


def all_well(outcomes: Sequence[Outcome], check: Check, how: str, report: Report) -> bool:
    """Whether further calls ended as well as the first ones did; the first that did not is an error of `check`."""
    failed = next((outcome for outcome in outcomes if outcome.verdict is not Verdict.OK), None)
    if failed:
        faults = ", ".join(f"{number} {fault}" for fault, number in failed.faults.items())
        text = f"{how}: {ending(failed)}{f' ({faults})' if faults else ''}"
        report.add(Level.ERROR, check, text, values={"verdict": failed.verdict.value}, details=said(failed))
    return failed is None


def _judge_images(outcomes: Sequence[Outcome], ids: Mapping[str, str], pictures: Sequence[str], report: Report) -> None:
    faults: dict[Fault, list[str]] = {}
    for image, fault in _faults(outcomes, ids):
        faults.setdefault(fault, []).append(image)
    for fault, images in faults.items():
        text = f"{fault.value}: {len(images)} of {count(len(pictures), 'image')} ({some(images)}); {MENDING[fault]}"
        values = {"fault": fault.value, "count": len(images)}
        report.add(Level.ERROR, Check.IMAGES, text, images=images, values=values)
    if not faults:
        report.add(Level.OK, Check.IMAGES, f"output for all {count(len(pictures), 'image')} is valid")


def _faults(outcomes: Sequence[Outcome], ids: Mapping[str, str]) -> Iterator[tuple[str, Fault]]:
    for outcome in outcomes:
        yield from ((audit.image, audit.fault) for audit in outcome.images if audit.fault)
        yield from ((ids[answer.digest], answer.fault) for answer in outcome.predictions if answer.fault)


def _judge_unknown(outcomes: Sequence[Outcome], report: Report) -> None:
    unknown = sum(outcome.unknown_names for outcome in outcomes)
    if unknown:
        text = f"{count(unknown, 'file or row')} that nobody asked for; they are left alone, so do not write them"
        report.add(Level.WARNING, Check.UNKNOWN, text, values={"count": unknown})
