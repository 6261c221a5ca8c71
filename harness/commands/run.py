"""`harness run`: play what is not known yet, and publish."""

import argparse

from harness.commands.dataset import build_if_missing
from harness.commands.options import tournament_of
from harness.config import Tournament
from harness.errors import EXPECTED_ERROR, OK, StoreDamagedError
from harness.terminal import Terminal
from harness.tournament import Result, play

MENDINGS = 2
"""How often a store that is damaged is mended by going on with what is left of it."""


def main(arguments: argparse.Namespace) -> int:
    tournament = tournament_of(arguments)
    terminal = Terminal()
    build_if_missing(tournament.dataset, terminal.say)
    with terminal.live():
        result = _play(tournament, terminal)
    terminal.failures(result.failed)
    for line in result.given_up:
        terminal.say(f"given up: {line}")
    terminal.unavailable(result.round.unavailable)
    terminal.leaderboard(result.board)
    terminal.say(_summary(result))
    return OK if result.board["complete"] else EXPECTED_ERROR


def _play(tournament: Tournament, terminal: Terminal) -> Result:
    """What was damaged is gone from the store when a run ends because of it, and playing again makes it anew."""
    for _ in range(MENDINGS):
        try:
            return play(tournament, terminal)
        except StoreDamagedError as error:
            terminal.say(f"{error}: this is done now")
    return play(tournament, terminal)


def _summary(result: Result) -> str:
    calls = sum(result.calls.values())
    made = "nothing was left to call" if not calls else f"{calls} calls were made"
    return f"{made}; results and ledger: {result.output} (harness status {result.output})"
