"""`harness plan`: what `run` would call, and what is known already. Nothing is called."""

import argparse

from rich.table import Table

from harness.commands.dataset import build_if_missing
from harness.commands.options import tournament_of
from harness.errors import OK
from harness.plan import Player
from harness.round import Round
from harness.store import Store
from harness.terminal import Terminal, plain_table
from harness.tournament import opened


def main(arguments: argparse.Namespace) -> int:
    tournament = tournament_of(arguments)
    terminal = Terminal()
    build_if_missing(tournament.dataset, terminal.say)
    with opened(tournament, terminal) as (store, sandbox, prepared, _):
        round_ = prepared.round
        title = f"{round_.tournament}: {len(round_.images)} images, sandbox {sandbox.name}"
        columns = [("type", "name"), ("name", "name"), ("known", "number"), ("to do", "number"), ("what", "name")]
        table = plain_table(title, columns)
        known, to_do = _attack_rows(table, round_, prepared.attacks, store)
        _defense_rows(table, round_, prepared.defenses, store)
        terminal.console.print(table)
    terminal.say(f"{known} attack calls are known, {to_do} would be made; a defense is called for what it has not seen")
    return OK


def _attack_rows(table: Table, round_: Round, attacks: list[Player], store: Store) -> tuple[int, int]:
    known = store.index.known_calls(round_.unit_keys())
    total = 0
    for player, entry in zip(attacks, round_.attacks, strict=True):
        keys = [key for keys in entry.units for key in keys]
        done = sum(key in known for key in keys)
        total += len(keys) - done
        table.add_row(player.submission.role, player.name, str(done), str(len(keys) - done), "calls")
    return len(known), total


def _defense_rows(table: Table, round_: Round, defenses: list[Player], store: Store) -> None:
    """Images that are there and images that are still to be made; equal ones are counted once."""
    made = {image.clean for image in round_.images}
    known = store.index.known_calls(round_.unit_keys())
    for key in known:
        made |= {audit.digest for audit in store.index.audits(key)}
    to_make = len(round_.images) * len(round_.attacks) * len(round_.epsilons) - _attacked(round_, known)
    for player in defenses:
        answered = len(made & store.index.predictions(player.key).keys())
        to_do = len(made) - answered + to_make
        table.add_row("defense", player.name, str(answered), str(to_do), "images (at most)" if to_make else "images")


def _attacked(round_: Round, known: set[str]) -> int:
    sizes = [len(batch) for batch in round_.batches]
    return sum(
        size
        for attack in round_.attacks
        for keys in attack.units
        for key, size in zip(keys, sizes, strict=True)
        if key in known
    )
