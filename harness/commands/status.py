"""`harness status`: how far a run is, what every submission cost, and what failed."""

import argparse
from collections import Counter

from harness.assembly import assemble, read_audits
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
    calls = store.index.calls(round_.players())
    table = assemble(round_, store.index, read_audits(round_, store.index))
    attempts = store.index.attempts(round_.players())
    store.close()
    terminal = Terminal()
    total = table.labels.size + table.clean.size
    state = "complete" if not table.holes else f"incomplete, {table.holes} answers are not known yet"
    terminal.say(f"{round_.tournament}: {total - table.holes} of {total} answers, {state}")
    terminal.table("Ledger (s/100: seconds for 100 images)", _ledger(round_, calls))
    terminal.unavailable(round_.unavailable)
    terminal.failures([call for call in calls if call.verdict is not Verdict.OK])
    if attempts:
        terminal.say(f"our own side failed {len(attempts)} times; such calls are tried again and never scored")
    for label, error, when in attempts[-FAILED_SHOWN:] if table.holes else ():
        terminal.say(f"    {when} {label}: {error}")
    return OK


def _ledger(round_: Round, calls: list[CallRecord]) -> list[Column]:
    """What every submission cost, over all runs into this store; in a narrow window the first to go are the counts."""
    players = [("targeted" if one.targeted else "attack", one.name, one.player) for one in round_.attacks]
    players += [("defense", one.name, one.player) for one in round_.defenses]
    own = [[call for call in calls if call.player == player] for _, _, player in players]
    images = [sum(call.images for call in made) for made in own]
    seconds = [sum(call.seconds for call in made) for made in own]
    speeds = [f"{100 * time / count:.1f}" if count else "-" for time, count in zip(seconds, images, strict=True)]
    peaks = [_mebibytes(max((call.peak_memory for call in made), default=0)) for made in own]
    failures = [_failures(made) for made in own]
    columns = [
        Column("type", [role for role, _, _ in players], drop=2),
        Column("name", [name for _, name, _ in players]),
        Column("calls", [str(len(made)) for made in own], number=True, drop=6),
        Column("images", [str(count) for count in images], number=True, drop=5),
        Column("seconds", [f"{time:.1f}" for time in seconds], number=True, drop=4),
        Column("s/100", speeds, number=True, drop=1),
        Column("peak MiB", peaks, number=True, drop=3),
    ]
    return [*columns, Column("not ok", failures)] if any(failures) else columns


def _failures(calls: list[CallRecord]) -> str:
    bad = Counter(call.verdict for call in calls if call.verdict is not Verdict.OK)
    return ", ".join(f"{count} {verdict}" for verdict, count in bad.items())


def _mebibytes(memory: int) -> str:
    """A call that was too short to be looked at has no peak."""
    return f"{memory / (1 << 20):.0f}" if memory else "-"
