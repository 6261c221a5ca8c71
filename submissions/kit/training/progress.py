"""How far a training is: a bar with an estimate in a terminal, and everywhere a line an epoch."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from advkit.errors import KitError
from advkit.weights.files import how_to_install
from training.train import Report

try:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
except ImportError as missing:
    raise KitError(f"rich, which shows progress, is not installed: {how_to_install('fetch')}") from missing

LEFT_OUT = ("epoch", "seconds")


@contextmanager
def shown(name: str, epochs: int, console: Console | None = None) -> Iterator[Report]:
    """What a training of so many epochs tells its progress to."""
    console = console or Console()
    started, first = time.monotonic(), -1
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def report(done: int, total: int, row: Mapping[str, float] | None = None) -> None:
            nonlocal first
            first = done - 1 if first < 0 else first
            bar.update(task, completed=done, total=total)
            if row is not None:
                left = (time.monotonic() - started) / max(done - first, 1) * (total - done)
                line = f"{name}: epoch {row['epoch']:.0f} of {epochs}, {_figures(row)}, {left / 60:.1f} min left"
                console.print(line, soft_wrap=True, highlight=False, markup=False)

        yield report


def _figures(row: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in row.items() if key not in LEFT_OUT)
