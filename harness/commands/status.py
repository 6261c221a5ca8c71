"""`harness status`: how far a run is, what every submission cost, and what failed."""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.assembly import assemble
from harness.commands.options import output_of
from harness.errors import OK
from harness.grid import Column
from harness.index import CallRecord
from harness.records import Verdict
from harness.round import Round, read_round
from harness.terminal import FAILED_SHOWN, Terminal
from harness.tournament import open_store


def main(arguments: argparse.Namespace) -> int:
    output = output_of(arguments)
    round_ = read_round(output)
    store = open_store(output, round_)
    costs, failed = _costs(store.index.calls(round_.players()))
    table = assemble(round_, store.index)
    attempts = store.index.attempts(round_.players())
    store.close()
    terminal = Terminal()
    total = table.labels.size + table.clean.size
    state = "complete" if not table.holes else f"incomplete, {table.holes} answers are not known yet"
    terminal.say(f"{round_.tournament}: {total - table.holes} of {total} answers, {state}")
    terminal.table("Ledger (s/100: seconds for 100 images)", _ledger(round_, costs))
    terminal.unavailable(round_.unavailable)
    terminal.failures(failed)
    if attempts:
        terminal.say(f"our own side failed {len(attempts)} times; such calls are tried again and never scored")
    for label, error, when in attempts[-FAILED_SHOWN:] if table.holes else ():
        terminal.say(f"    {when} {label}: {error}")
    return OK


@dataclass
class _Cost:
    """What one submission cost, over all runs into this store. seconds: wall. peak_memory: bytes."""

    calls: int = 0
    images: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    bad: Counter[Verdict] = field(default_factory=Counter)

    def add(self, call: CallRecord) -> None:
        self.calls += 1
        self.images += call.images
        self.seconds += call.seconds
        self.peak_memory = max(self.peak_memory, call.peak_memory)
        if call.verdict is not Verdict.OK:
            self.bad[call.verdict] += 1

    @property
    def speed(self) -> str:
        return f"{100 * self.seconds / self.images:.1f}" if self.images else "-"

    @property
    def failures(self) -> str:
        return ", ".join(f"{count} {verdict}" for verdict, count in self.bad.items())


def _costs(calls: Iterable[CallRecord]) -> tuple[dict[str, _Cost], list[CallRecord]]:
    """What every player cost, and the calls that did not end well; there may be millions of the others."""
    costs: defaultdict[str, _Cost] = defaultdict(_Cost)
    failed = []
    for call in calls:
        costs[call.player].add(call)
        if call.verdict is not Verdict.OK:
            failed.append(call)
    return costs, failed


def _ledger(round_: Round, costs: Mapping[str, _Cost]) -> list[Column]:
    """In a narrow window the first to go are the counts."""
    players = [("targeted" if one.targeted else "attack", one.name, one.player) for one in round_.attacks]
    players += [("defense", one.name, one.player) for one in round_.defenses]
    own = [costs.get(player, _Cost()) for _, _, player in players]
    columns = [
        Column("type", [role for role, _, _ in players], drop=2),
        Column("name", [name for _, name, _ in players]),
        Column("calls", [str(one.calls) for one in own], number=True, drop=6),
        Column("images", [str(one.images) for one in own], number=True, drop=5),
        Column("seconds", [f"{one.seconds:.1f}" for one in own], number=True, drop=4),
        Column("s/100", [one.speed for one in own], number=True, drop=1),
        Column("peak MiB", [_mebibytes(one.peak_memory) for one in own], number=True, drop=3),
    ]
    failures = [one.failures for one in own]
    return [*columns, Column("not ok", failures)] if any(failures) else columns


def _mebibytes(memory: int) -> str:
    """A call that was too short to be looked at has no peak."""
    return f"{memory / (1 << 20):.0f}" if memory else "-"
