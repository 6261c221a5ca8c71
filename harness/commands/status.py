"""`harness status`: how far a run is, what every submission cost, and what failed."""

import argparse
from collections import Counter

from rich.table import Table

from harness.assembly import assemble, read_audits
from harness.commands.options import output_of
from harness.errors import OK
from harness.index import CallRecord
from harness.records import Verdict
from harness.round import Round, read_round
from harness.terminal import FAILED_SHOWN, Terminal, plain_table
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
    terminal.console.print(_ledger(round_, calls))
    terminal.unavailable(round_.unavailable)
    terminal.failures([call for call in calls if call.verdict is not Verdict.OK])
    if attempts:
        terminal.say(f"our own side failed {len(attempts)} times; such calls are tried again and never scored")
    for label, error, when in attempts[-FAILED_SHOWN:] if table.holes else ():
        terminal.say(f"    {when} {label}: {error}")
    return OK


def _ledger(round_: Round, calls: list[CallRecord]) -> Table:
    """What every submission cost, over all runs into this store."""
    numbers = ("calls", "images", "seconds", "s/100", "peak MiB")
    columns = [("type", "name"), ("name", "name"), *((name, "number") for name in numbers), ("not ok", "text")]
    table = plain_table("Ledger (s/100: seconds for 100 images)", columns)
    players = [("targeted" if one.targeted else "attack", one.name, one.player) for one in round_.attacks]
    players += [("defense", one.name, one.player) for one in round_.defenses]
    for role, name, player in players:
        own = [call for call in calls if call.player == player]
        images, seconds = sum(call.images for call in own), sum(call.seconds for call in own)
        bad = Counter(call.verdict for call in own if call.verdict is not Verdict.OK)
        table.add_row(
            role,
            name,
            str(len(own)),
            str(images),
            f"{seconds:.1f}",
            f"{100 * seconds / images:.1f}" if images else "-",
            _mebibytes(max((call.peak_memory for call in own), default=0)),
            ", ".join(f"{count} {verdict}" for verdict, count in bad.items()),
        )
    return table


def _mebibytes(memory: int) -> str:
    """A call that was too short to be looked at has no peak."""
    return f"{memory / (1 << 20):.0f}" if memory else "-"
