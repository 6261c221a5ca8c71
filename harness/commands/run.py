"""`harness run`: play what is not known yet, and publish."""

import argparse

from harness.commands.dataset import build_if_missing
from harness.commands.options import tournament_of
from harness.errors import EXPECTED_ERROR, OK
from harness.terminal import Terminal
from harness.tournament import Result, play


def main(arguments: argparse.Namespace) -> int:
    tournament = tournament_of(arguments)
    terminal = Terminal()
    build_if_missing(tournament.dataset, terminal.say)
    with terminal.live():
        result = play(tournament, terminal)
    terminal.leaderboard(result.board)
    terminal.unavailable(result.round.unavailable)
    terminal.failures(result.failed)
    terminal.say(_summary(result))
    for line in result.given_up:
        terminal.say(f"given up: {line}")
    return OK if result.board["complete"] else EXPECTED_ERROR


def _summary(result: Result) -> str:
    calls = sum(result.calls.values())
    made = "nothing was left to call" if not calls else f"{calls} calls were made"
    return f"{made}; results and ledger: {result.output} (harness status {result.output})"
