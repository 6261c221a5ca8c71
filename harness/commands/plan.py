"""`harness plan`: what `run` would call, what is known already, and what the rest would take. Nothing is called."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from rich.table import Table

from harness.cluster import Cluster, make_room, read_cluster
from harness.commands.options import tournament_of
from harness.config import Tournament
from harness.errors import OK
from harness.executors.field import Field
from harness.forecast import Forecast, Todo, forecast, spell, todo_of
from harness.known import known_attack_calls
from harness.pace import Pace
from harness.plan import Player
from harness.preparation import Prepared
from harness.round import Round
from harness.rows import Numbers
from harness.simulation import Room
from harness.store import Store
from harness.terminal import Terminal, plain_table
from harness.tournament import opened, resolved

NAMES_SHOWN = 10

Made = Mapping[str, Numbers]


def main(arguments: argparse.Namespace) -> int:
    cluster = read_cluster(arguments.cluster) if arguments.cluster else None
    tournament = tournament_of(arguments)
    room = make_room(cluster, tournament.limits.resolve()) if cluster else None
    terminal = Terminal()
    with _resolved(tournament, terminal, cluster) as field:
        store, sandbox, prepared = field.store, field.sandbox, field.prepared
        round_ = prepared.round
        title = f"{round_.tournament}: {len(round_.images)} images, sandbox {sandbox.name}"
        columns = [("type", "name"), ("name", "name"), ("known", "number"), ("to do", "number"), ("what", "name")]
        table = plain_table(title, columns)
        made = known_attack_calls(round_, store)
        known, to_do = _attack_rows(table, round_, prepared.attacks, made)
        left = _defense_rows(table, round_, prepared.defenses, made, store)
        for one in round_.unavailable:
            table.add_row(one.type, one.name, "-", "-", "unavailable")
        terminal.console.print(table)
        note = "a defense is called for what it has not seen"
        terminal.say(f"{known} attack calls are known, {to_do} would be made; {note}")
        if cluster and room:
            todo = todo_of(round_, prepared.attacks, prepared.defenses, made, left)
            for line in _expected(tournament, cluster, room, prepared, todo, store):
                terminal.say(line)
    return OK


@contextmanager
def _resolved(tournament: Tournament, terminal: Terminal, cluster: Cluster | None) -> Iterator[Field]:
    """Machines of Ray need not be there yet where others are described."""
    if cluster and tournament.ray_address:
        has_gpus = cluster.gpus > 0 and tournament.gpu is not False
        with resolved(tournament, terminal, has_gpus) as field:
            yield field
    else:
        with opened(tournament, terminal) as (field, _):
            yield field


def _attack_rows(table: Table, round_: Round, attacks: list[Player], made: Made) -> tuple[int, int]:
    total = 0
    for player, entry in zip(attacks, round_.attacks, strict=True):
        keys = [key for keys in entry.units for key in keys]
        done = sum(key in made for key in keys)
        total += len(keys) - done
        table.add_row(player.submission.role, player.name, str(done), str(len(keys) - done), "calls")
    return len(made), total


def _defense_rows(table: Table, round_: Round, defenses: list[Player], made: Made, store: Store) -> dict[str, int]:
    """Images that are there and images that are still to be made; equal ones are counted once.

    By key of a player, the images that are there and that it has not labelled are returned.
    """
    left = {}
    clean = store.index.add_images(image.clean for image in round_.images)
    there = np.unique(np.concatenate([clean, *made.values()]))
    attacked = sum(len(made.get(key, ())) for key in round_.unit_keys())
    to_make = len(round_.images) * len(round_.attacks) * len(round_.epsilons) - attacked
    for player in defenses:
        answered = np.intersect1d(there, store.index.answers(player.key)[0]).size
        left[player.key] = there.size - answered
        to_do = str(left[player.key] + to_make)
        table.add_row("defense", player.name, str(answered), to_do, "images (at most)" if to_make else "images")
    return left


def _expected(
    tournament: Tournament, cluster: Cluster, room: Room, prepared: Prepared, todo: Todo, store: Store
) -> Iterator[str]:
    """What the rest would take on a cluster, by the calls that this store has seen."""
    players = [*prepared.attacks, *prepared.defenses]
    wanted = bool(room.gpus) and tournament.gpu is not False
    with_gpu = {player.key: wanted and player.submission.metadata.gpu for player in players}
    pace = Pace(store.index.calls({player.key for player in players}))
    found = forecast(todo, pace, room, tournament.limits.resolve(), with_gpu)
    yield from _found_lines(cluster, found)
    elsewhere = [player.name for player in players if with_gpu[player.key] and not player.gpu]
    if elsewhere and pace.knows_any:
        yield f"measured without a GPU, and reckoned so on one: {_names(elsewhere)}"


def _found_lines(cluster: Cluster, found: Forecast) -> Iterator[str]:
    gpus = f", {found.room.gpus} of them on a GPU" if found.room.gpus else ""
    yield f"cluster: {cluster.nodes} machines, {found.room.slots} calls side by side{gpus}"
    yield f"makespan: {_range(found, spell)}"
    if cluster.price is not None:
        hourly = cluster.nodes * cluster.price
        paid = _range(found, lambda seconds: f"{seconds / 3600 * hourly:.2f}")
        yield f"cost: {paid}, at {cluster.price:g} for a machine and hour"
    if found.likely is not None:
        yield f"calls: {found.timeline.calls}; held up by {found.holding_up}"
    if found.guessed:
        yield f"not measured, and taken for the median of their type: {_names(found.guessed)}"
    if found.unknown:
        yield f"nobody of their type was measured: {_names(found.unknown)}; run with --limit 10 into this store first"


def _range(found: Forecast, spelled: Callable[[float], str]) -> str:
    if found.likely is not None:
        return f"about {spelled(found.likely)} ({spelled(found.low)} to {spelled(found.high)})"
    least = f"at least {spelled(found.low)}, " if found.low else ""
    return f"{least}at most {spelled(found.high)}, if every call takes its whole limit"


def _names(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
