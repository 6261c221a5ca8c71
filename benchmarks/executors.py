"""What an executor adds to the work of the submissions, and how well the makespan is foretold.

    python benchmarks/executors.py [--executors local ray] [--slots 2] [--repeat 3]

Six attacks and three defenses that sleep for a known time (so much to start, so much for each image) and do next to
nothing play on 40 small pictures under the `process` sandbox, ten in a batch. So the ideal is known: their sleep,
shared out evenly over the slots. Prints for each executor the makespan over that ideal; the overhead for each call, in
seconds of a slot: all that is not sleep, idle slots at the end included; and the makespan that was foretold from a
trial on the first 15 pictures over the one that was measured. Interleaved; what is done before the first call (taking
in submissions, starting Ray) does not count.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.config import Tournament, load_tournament
from harness.forecast import forecast, todo_of
from harness.pace import Pace
from harness.records import Call, Outcome
from harness.runner import Progress
from harness.simulation import Room
from harness.store import Store
from harness.tournament import opened, play

PICTURES, BATCH, TRIAL = 40, 10, 15

SLEEPS = {
    **{f"attack{number}": (0.2, 0.02 * number) for number in range(1, 7)},
    **{f"defense{number}": (0.3, 0.03 * number) for number in range(1, 4)},
}
"""Seconds to start, seconds for each image."""

COUNT = 'sleep "$(ls "$1" | grep -c png$ | awk \'{{print {fixed} + {each} * $1}}\')"'

ATTACK = """#!/bin/sh
{sleep}
source=$1 target=$2
names=$(ls "$source" | grep png$)
set -- $(echo "$names" | tail -n +{first}) $(echo "$names" | head -n {shift})
for name in $names; do cp "$source/$1" "$target/$name"; shift; done
"""
"""Each picture becomes one some places further, which the referee forces into the budget: no two are equal."""

DEFENSE = """#!/bin/sh
{sleep}
ls "$1" | sed 's/$/,1/' >"$2"
"""


@dataclass
class Clock:
    """A display that keeps when the play began and ended, and its calls."""

    seen: list[float] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def say(self, line: str) -> None:
        pass

    def progress(self, progress: Progress, running: tuple[Call, ...]) -> None:
        self.seen.append(time.monotonic())

    def ended(self, call: Call, outcome: Outcome, progress: Progress) -> None:
        if outcome.verdict != "ok":
            raise SystemExit(f"{call.label}: {outcome.verdict} ({outcome.log})")
        self.calls.append(call)

    def failed(self, call: Call, error: Exception, again: bool) -> None:
        raise SystemExit(f"{call.label}: {error}")

    @property
    def makespan(self) -> float:
        return self.seen[-1] - self.seen[0]

    @property
    def work(self) -> float:
        """Seconds that the submissions slept."""
        sleeps = [(SLEEPS[call.label.split()[0]], len(call.images)) for call in self.calls]
        return sum(fixed + each * images for (fixed, each), images in sleeps)


def write_all(folder: Path) -> None:
    (folder / "images").mkdir()
    rows = ["ImageId,TrueLabel,TargetClass"]
    for number in range(PICTURES):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number:03d}.png")
        rows.append(f"{number:03d},1,2")
    (folder / "dataset.csv").write_text("\n".join(rows) + "\n")
    for name, (fixed, each) in SLEEPS.items():
        sleep, shift = COUNT.format(fixed=fixed, each=each), int(name[-1])
        role = name.rstrip("0123456789")
        program = (ATTACK if role == "attack" else DEFENSE).format(sleep=sleep, shift=shift, first=shift + 1)
        (folder / "players" / name).mkdir(parents=True)
        (folder / "players" / name / "run.sh").write_text(program)
        (folder / "players" / name / "run.sh").chmod(0o755)
        metadata = {"type": role, "container": "busybox:1", "entry_point": "run.sh"}
        (folder / "players" / name / "metadata.json").write_text(json.dumps(metadata))


def tournament_of(folder: Path, output: str, slots: int, **more: Any) -> Tournament:
    keys = {
        "dataset": ".", "submissions": "players/*", "batch_size": BATCH, "sandbox": "process",
        "trust_submissions": True, "slots": slots, "limits": {"cpus": 1, "memory": "512 MiB"}, "output": output,
    }  # fmt: skip
    (folder / "t.yaml").write_text(json.dumps(keys))
    return load_tournament(folder / "t.yaml", more)


def foretold(folder: Path, slots: int) -> float:
    """Seconds, from a trial on the first pictures, for a round of which nothing is known."""
    trial = tournament_of(folder, "trial", slots, limit=TRIAL)
    play(trial, Clock())
    whole = tournament_of(folder, "whole", slots)
    with opened(whole, Clock()) as (opened_field, _), closing(Store(trial.store_path)) as measured:
        prepared = opened_field.prepared
        players = [*prepared.attacks, *prepared.defenses]
        pace = Pace(measured.index.calls({player.key for player in players}))
        left = {player.key: PICTURES for player in prepared.defenses}
        todo = todo_of(prepared.round, prepared.attacks, prepared.defenses, {}, left)
        no_gpu = {player.key: False for player in players}
        return forecast(todo, pace, Room(slots), whole.limits.resolve(), no_gpu).likely or float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description="What an executor adds to the work of the submissions.")
    parser.add_argument("--executors", nargs="+", default=["local", "ray"])
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    slots = arguments.slots
    quantities = ("makespan / ideal", "overhead, s a call", "calls", "makespan, s", "foretold / makespan")
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in arguments.executors}
    for _ in range(arguments.repeat):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_all(folder)
            seconds = foretold(folder, slots)
            for executor in arguments.executors:
                clock = Clock()
                play(tournament_of(folder, executor, slots, executor=executor), clock)
                span, work, calls = clock.makespan, clock.work, len(clock.calls)
                row = span * slots / work, (span * slots - work) / calls, calls, span, seconds / span
                found[executor].append(row)
                print(executor, [round(value, 3) for value in row], file=sys.stderr, flush=True)
    print(
        f"| quantity | {' | '.join(f'{name}, median (min to max)' for name in found)} |\n|{' --- |' * (1 + len(found))}"
    )
    for number, quantity in enumerate(quantities):
        cells = []
        for rows in found.values():
            values = sorted(row[number] for row in rows)
            cells.append(f"{statistics.median(values):.3f} ({values[0]:.3f} to {values[-1]:.3f})")
        print(f"| {quantity} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
