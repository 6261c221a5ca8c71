"""`harness verify`: whether every published number follows from the evidence beside it."""

import argparse
from contextlib import ExitStack
from pathlib import Path

from harness.commands.options import folder_of
from harness.errors import EXPECTED_ERROR, OK
from harness.publish.verify import Findings, Means, verify
from harness.round import read_round
from harness.terminal import Terminal
from harness.tournament import open_store


def main(arguments: argparse.Namespace) -> int:
    say = Terminal().say
    with ExitStack() as stack:
        store = None
        if arguments.store is not None:
            output = folder_of(arguments.store)
            store = open_store(output, read_round(output))
            stack.callback(store.close)
        signer = None if arguments.signer is None else Path(arguments.signer)
        looks = verify(Path(arguments.published), Means(store, signer), say)
    for findings in looks:
        for line in _lines(findings):
            say(line)
    return EXPECTED_ERROR if any(findings.faults for findings in looks) else OK


def _lines(findings: Findings) -> list[str]:
    lines = [f"{findings.name}: {fault}" for fault in findings.faults]
    count = len(findings.faults)
    answers = f" and {findings.answers} answers" if findings.answers else ""
    verdict = "no difference" if not count else "1 difference" if count == 1 else f"{count} differences"
    lines += [f"{findings.name}: {note}" for note in findings.notes]
    return [*lines, f"{findings.name}: {findings.files} files{answers} looked at, {verdict}"]
