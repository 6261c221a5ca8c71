"""`harness plan`: what `run` would call, and what is known already. Nothing is called."""

import argparse

from rich.table import Table

from harness.commands.options import tournament_of
from harness.errors import OK
from harness.plan import Player
from harness.records import ImageAudit
from harness.round import Round
from harness.runner import known_attack_calls
from harness.store import Store
from harness.terminal import Terminal, plain_table
from harness.tournament import opened

Made = dict[str, list[ImageAudit]]


def main(arguments: argparse.Namespace) -> int:
    tournament = tournament_of(arguments)
    terminal = Terminal()
    with opened(tournament, terminal) as (store, sandbox, prepared, _):
        round_ = prepared.round
        title = f"{round_.tournament}: {len(round_.images)} images, sandbox {sandbox.name}"
        columns = [("type", "name"), ("name", "name"), ("known", "number"), ("to do", "number"), ("what", "name")]
        table = plain_table(title, columns)
        made = known_attack_calls(round_, store)
        known, to_do = _attack_rows(table, round_, prepared.attacks, made)
        _defense_rows(table, round_, prepared.defenses, made, store)
        for one in round_.unavailable:
            table.add_row(one.type, one.name, "-", "-", "unavailable")
        terminal.console.print(table)
    terminal.say(f"{known} attack calls are known, {to_do} would be made; a defense is called for what it has not seen")
    return OK


def _attack_rows(table: Table, round_: Round, attacks: list[Player], made: Made) -> tuple[int, int]:
    total = 0
    for player, entry in zip(attacks, round_.attacks, strict=True):
        keys = [key for keys in entry.units for key in keys]
        done = sum(key in made for key in keys)
        total += len(keys) - done
        table.add_row(player.submission.role, player.name, str(done), str(len(keys) - done), "calls")
    return len(made), total


def _defense_rows(table: Table, round_: Round, defenses: list[Player], made: Made, store: Store) -> None:
    """Images that are there and images that are still to be made; equal ones are counted once."""
    there = {image.clean for image in round_.images} | {audit.digest for audits in made.values() for audit in audits}
    attacked = sum(len(made.get(key, ())) for key in round_.unit_keys())
    to_make = len(round_.images) * len(round_.attacks) * len(round_.epsilons) - attacked
    for player in defenses:
        answered = len(there & store.index.predictions(player.key).keys())
        to_do = len(there) - answered + to_make
        table.add_row("defense", player.name, str(answered), str(to_do), "images (at most)" if to_make else "images")
