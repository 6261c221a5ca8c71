"""What was found: one finding a line for people, one document with a stable schema for a participant's CI."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import harness
from harness.errors import printable

SCHEMA_VERSION = 1
"""Raised when a key of the report changes its meaning or goes; new keys and new checks do not raise it."""

Value = float | int | str | None


class Level(StrEnum):
    """`skipped`: could not be looked at, which is not the same as in order."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    SKIPPED = "skipped"


class Check(StrEnum):
    """Everything that is looked at, in this order; `docs/check.md` has a row for each."""

    ARCHIVE = "static.archive"
    CONTRACT = "static.contract"
    INTERPRETER = "static.interpreter"
    LINE_ENDS = "static.line_ends"
    SIZE = "static.size"
    NAMES = "static.names"
    WEIGHTS = "static.weights"
    LABEL_SPACE = "static.label_space"
    CONTAINER = "static.container"
    NETWORK = "static.network"
    SANDBOX = "smoke.sandbox"
    VERDICT = "smoke.verdict"
    IMAGES = "smoke.images"
    UNKNOWN = "smoke.unknown"
    SECONDS = "time.seconds"
    MEMORY = "time.memory"
    EXCEEDED = "budget.exceeded"
    UNUSED = "budget.unused"
    UNCHANGED = "budget.unchanged"
    TARGETS = "budget.targets"
    ACCURACY = "labels.accuracy"
    BASE = "labels.base"
    CONSTANT = "labels.constant"
    AGAIN = "honesty.again"
    NAMED = "honesty.names"
    ORDER = "honesty.order"
    BATCH = "honesty.batch"
    OPPONENT = "opponent.success"

    @property
    def step(self) -> str:
        return self.partition(".")[0]


@dataclass(frozen=True)
class Finding:
    """message: the thing, the rule it broke, what to do next. images: ids of those it is about. values: numbers
    behind the message, named in `docs/check.md`. details: further lines, such as the end of a log.
    """

    level: Level
    check: Check
    message: str
    images: tuple[str, ...] = ()
    values: Mapping[str, Value] = field(default_factory=dict)
    details: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For people: the finding, then its details indented."""
        return [f"{self.level:<7}  {self.check.step:<8}  {self.message}", *(f"{'':19}{line}" for line in self.details)]


class Report:
    """Findings in the order they were made; `listen` hears each at once."""

    def __init__(self, listen: Callable[[Finding], None] = lambda finding: None) -> None:
        self.findings: list[Finding] = []
        self._listen = listen

    def add(
        self, level: Level, check: Check, message: str, *, images: Iterable[str] = (),
        values: Mapping[str, Value] | None = None, details: Iterable[str] = (),
    ) -> None:  # fmt: skip
        finding = Finding(
            level, check, printable(message), tuple(images), dict(values or {}), tuple(map(printable, details))
        )
        self.findings.append(finding)
        self._listen(finding)

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(finding.level for finding in self.findings)
        return {level.value: found[level] for level in Level}

    def passed(self, *, strict: bool) -> bool:
        """Whether there is no error; under `strict` no warning either."""
        refused = {Level.ERROR, Level.WARNING} if strict else {Level.ERROR}
        return not any(finding.level in refused for finding in self.findings)

    def document(self, submission: Mapping[str, Any], conditions: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
        """The JSON report; docs/check.md describes each key."""
        return {
            "schema_version": SCHEMA_VERSION,
            "harness": harness.__version__,
            "submission": dict(submission),
            "conditions": dict(conditions),
            "passed": self.passed(strict=strict),
            "strict": strict,
            "counts": self.counts,
            "findings": [_plain(finding) for finding in self.findings],
        }


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level.value,
        "step": finding.check.step,
        "check": finding.check.value,
        "message": finding.message,
        "images": list(finding.images),
        "values": dict(finding.values),
        "details": list(finding.details),
    }


def some(names: Iterable[str], most: int = 4) -> str:
    """`a, b, c, d and 3 more`."""
    listed = list(names)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
