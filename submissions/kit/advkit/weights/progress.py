"""How far a download is: a bar with an estimate in a terminal, plain lines elsewhere. Both on standard error."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from advkit.errors import KitError
from advkit.weights.fetch import Report
from advkit.weights.files import how_to_install

try:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
except ImportError as missing:
    raise KitError(f"rich, which shows progress, is not installed: {how_to_install('fetch')}") from missing

EVERY = 10.0
"""Seconds between two plain lines, unless another tenth is done before."""


@contextmanager
def shown(label: str, console: Console | None = None) -> Iterator[Report]:
    """What a download tells its progress to."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(label, console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(label, total=None)

        def report(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        yield report


class _Lines:
    """A line for every tenth of the file, and at least every so many seconds."""

    def __init__(self, label: str, console: Console) -> None:
        self._label, self._console = label, console
        self._start: tuple[float, int] | None = None
        self._last, self._tenth = 0.0, -1

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self._start is None or done < self._start[1]:
            self._start, self._tenth = (now, done), -1
        tenth = 10 * done // total if total else 0
        if tenth > self._tenth or now >= self._last + EVERY:
            self._last, self._tenth = now, tenth
            self._console.print(self._line(done, total, now), soft_wrap=True, highlight=False, markup=False)

    def _line(self, done: int, total: int | None, now: float) -> str:
        if not total:
            return f"{self._label}: {_mebibytes(done)}"
        since, before = self._start or (now, done)
        rate = (done - before) / (now - since) if now > since else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        return f"{self._label}: {100 * done // total} % of {_mebibytes(total)}{left}"


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
