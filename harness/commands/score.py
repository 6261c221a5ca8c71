"""`harness score`: the board again from the store, perhaps by other rules. Nothing is called."""

import argparse

from harness.commands.options import output_of
from harness.errors import EXPECTED_ERROR, OK
from harness.terminal import Terminal
from harness.tournament import score


def main(arguments: argparse.Namespace) -> int:
    result = score(output_of(arguments), arguments.rules)
    terminal = Terminal()
    terminal.unavailable(result.round.unavailable)
    terminal.leaderboard(result.board)
    terminal.say(f"rules {result.board['rules']}; results: {result.output}")
    return OK if result.board["complete"] else EXPECTED_ERROR
