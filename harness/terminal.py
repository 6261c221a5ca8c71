"""What a person at a terminal sees: progress with an ETA, failures as they happen, the leaderboard."""

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from harness.board import show_board
from harness.diff.text import Line, safe
from harness.errors import printable
from harness.grid import NARROWEST, Column, fit
from harness.index import CallRecord
from harness.publish.cells import Board
from harness.records import Call, Outcome, Verdict
from harness.round import Unavailable
from harness.runner import Progress as RoundProgress

MOODS = {1: "green", 0: "", -1: "red"}
"""The style of a line of `harness.diff.text`."""

LOG_LINES = 3
FAILED_SHOWN = 20


class PlainConsole(Console):
    """A console whose reader may leave (`harness run ... | head`): a round does not end because of that."""

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Terminal:
    """A display for a run: live bars where there is a terminal, a plain line for each call where there is none."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or PlainConsole()
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    @contextmanager
    def live(self) -> Iterator["Terminal"]:
        """Shows the bars while the block runs."""
        if not self.console.is_terminal:
            yield self
            return
        columns = (
            TextColumn("{task.description:>8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as bars:
            self._bars = bars
            yield self
        self._bars = None

    def say(self, line: str) -> None:
        """One line, whoever wrote parts of it."""
        self.console.print(printable(line), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def progress(self, progress: RoundProgress, running: tuple[Call, ...]) -> None:
        if self._bars is None:
            return
        now = ", ".join(call.label for call in running)
        note = f"images   now: {now}" if now else "images"
        self._bar(self._bars, "attacks", progress.attacked, progress.to_attack, note)
        self._bar(self._bars, "answers", progress.answered, progress.to_answer, _eta(progress))

    def _bar(self, bars: Progress, name: str, done: int, total: int, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = bars.add_task(name, total=total, note=note)
        bars.update(self._tasks[name], completed=done, total=total, note=note)

    def ended(self, call: Call, outcome: Outcome, progress: RoundProgress) -> None:
        line = f"{call.label}: {outcome.verdict} in {outcome.seconds:.1f} s"
        if outcome.verdict is not Verdict.OK:
            self.say(f"{line}{_faults(outcome)}")
            for log_line in last_lines(outcome.log):
                self.say(f"    {log_line}")
        elif self._bars is None:
            self.say(f"{line}; {_eta(progress)}")

    def failed(self, call: Call, error: Exception, again: bool) -> None:
        rest = "it will be tried again" if again else "given up; run the same command to try again"
        self.say(f"{call.label}: our own side failed ({error}); {rest}")

    def failures(self, calls: Sequence[CallRecord]) -> None:
        """Why calls failed, with the last lines of what each said; the latest are shown."""
        if len(calls) > FAILED_SHOWN:
            self.say(f"{len(calls)} calls failed, the last {FAILED_SHOWN}:")
        for call in calls[-FAILED_SHOWN:]:
            code = "" if call.exit_code is None else f", exit code {call.exit_code}"
            faults = "".join(f", {count} {fault}" for fault, count in call.faults.items())
            extra = f", {call.unknown_names} unknown names" if call.unknown_names else ""
            self.say(f"{call.label}: {call.verdict}{code}{faults}{extra}")
            for line in last_lines(call.log):
                self.say(f"    {line}")

    def unavailable(self, left_out: Iterable[Unavailable]) -> None:
        """Who could not be played, and what would help: lines, not a table, so that a command can be copied."""
        for one in left_out:
            self.say(str(one))

    def leaderboard(self, board: Board) -> None:
        """The three rankings as tables that fit the window; see `harness.board`."""
        if not board["complete"]:
            self.say(f"incomplete: {board['missing_answers']} answers are not known yet")
        show_board(self.console, board)

    def lines(self, lines: Iterable[Line]) -> None:
        """Lines that are broken at words where the window ends, each with an indent of its own."""
        plain = self.console.options.ascii_only
        for line in map(safe, lines):
            text = line.text.replace("→", "->") if plain else line.text
            style = "bold" if line.title else MOODS[line.mood]
            indent, hanging = " " * line.indent, " " * line.hanging
            width = max(self.console.width, line.hanging + NARROWEST)
            for part in textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=hanging) or [""]:
                self.console.print(Text(part, style=style), soft_wrap=True)

    def table(self, title: str, columns: Sequence[Column]) -> None:
        """A table that fits the window; what had no room is named below it."""
        table, left_out = fit(self.console, columns)
        self.console.print(Text(printable(title), style="bold"))
        self.console.print(table)
        if left_out:
            self.say(f"left out, for want of width: {', '.join(left_out)}")


def plain_table(title: str, columns: Sequence[tuple[str, str]]) -> Table:
    """A table without lines. Columns are (header, kind): `number`, `name` (both never cut), or `text`."""
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header, kind in columns:
        justify: JustifyMethod = "right" if kind == "number" else "left"
        width = min(len(header), 8)
        table.add_column(header, justify=justify, no_wrap=kind != "text", overflow="fold", min_width=width)
    return table


def last_lines(log: str, count: int = LOG_LINES) -> list[str]:
    """The last lines of a log that say something."""
    return [line for line in log.splitlines() if line.strip()][-count:]


def _faults(outcome: Outcome) -> str:
    faults = ", ".join(f"{count} {fault}" for fault, count in outcome.faults.items())
    return f" ({faults})" if faults else ""


def _eta(progress: RoundProgress) -> str:
    if progress.answered == progress.to_answer:
        return "all known"
    if progress.seconds_left is None:
        return f"{progress.calls} calls made"
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"{progress.calls} calls made, about {minutes}:{seconds:02d} to go"
