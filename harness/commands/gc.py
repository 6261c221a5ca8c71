"""`harness gc`: removes what no run of a store needs any more."""

import argparse
import shutil

from harness.commands.options import output_of
from harness.errors import OK
from harness.round import FILE_NAME, Round, read_round
from harness.store import Store
from harness.tournament import open_store


def main(arguments: argparse.Namespace) -> int:
    output = output_of(arguments)
    store = open_store(output, read_round(output))
    try:
        with store.writing():
            rounds = [read_round(path) for path in store.index.rounds() if (path / FILE_NAME).exists()]
            _collect(store, rounds, arguments.dry_run)
    finally:
        store.close()
    return OK


def _collect(store: Store, rounds: list[Round], dry_run: bool) -> None:
    units = [key for round_ in rounds for key in round_.unit_keys()]
    players = [player for round_ in rounds for player in round_.players()]
    submissions = {digest for round_ in rounds for digest in round_.submissions()}
    needed = {image.clean for round_ in rounds for image in round_.images}
    needed |= {audit.digest for key in units for audit in store.index.audits(key)}
    unused = store.object_digests() - needed
    code = [folder for folder in store.code.iterdir() if folder.name not in submissions]
    print(f"{store.path}: {len(rounds)} runs need {len(needed)} images", end="; ")
    print(f"{len(unused)} images and {len(code)} copies of code are unused")
    if dry_run:
        return
    store.index.keep_only(units, players)
    store.index.forget_sources(unused)
    freed = store.remove_objects(unused)
    for folder in code:
        shutil.rmtree(folder)
    print(f"{store.path}: {freed / (1 << 20):.1f} MiB freed")
