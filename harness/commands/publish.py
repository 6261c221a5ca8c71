"""`harness publish`: tables, figures and a static site of finished runs, each a bundle that anybody can verify."""

import argparse
from contextlib import ExitStack
from pathlib import Path

from harness.commands.options import folder_of
from harness.errors import OK
from harness.publish.press import Source, publish, size_of
from harness.round import read_round
from harness.terminal import Terminal
from harness.tournament import find_store


def main(arguments: argparse.Namespace) -> int:
    say = Terminal().say
    target = Path(arguments.to)
    key = None if arguments.sign is None else Path(arguments.sign)
    with ExitStack() as stack:
        sources = [_source(folder_of(run), stack) for run in arguments.runs]
        folders = publish(sources, target, say, incomplete=arguments.incomplete, key=key)
    for folder in folders:
        files, size = size_of(folder)
        say(f"{folder}: {files} files, {size / 1e6:.1f} MB")
    say(f"open {target / 'index.html'} in a browser; anybody can check it with: harness verify {target}")
    return OK


def _source(output: Path, stack: ExitStack) -> Source:
    round_ = read_round(output)
    store = find_store(output, round_)
    if store is not None:
        stack.callback(store.close)
    return Source(output, round_, store)
