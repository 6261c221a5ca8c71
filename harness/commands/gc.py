"""`harness gc`: removes what no run of a store needs any more."""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

from harness.commands.options import output_of
from harness.errors import OK, UserError
from harness.round import FILE_NAME, Round, read_round
from harness.store import Store
from harness.tournament import open_store
from harness.trees import remove_tree


def main(arguments: argparse.Namespace) -> int:
    output = output_of(arguments).resolve()
    store = open_store(output, read_round(output))
    try:
        with store.writing():
            rounds, forgotten = _rounds(store, output, arguments.forget)
            _collect(store, rounds, forgotten, arguments.dry_run)
            if not arguments.dry_run:
                _remove_unfinished({output, *store.rounds()})
    finally:
        store.close()
    return OK


def _rounds(store: Store, output: Path, forget: bool) -> tuple[list[Round], list[Path]]:
    """Every round of the store, and where those were that may be forgotten.

    Raises: UserError when one is not where it was and may not be forgotten.
    """
    paths = sorted({output, *store.rounds()})
    missing = [path for path in paths if not (path / FILE_NAME).exists()]
    if missing and not forget:
        raise UserError(
            f"{missing[0]}: a run of the store {store.path} that is not there now; bring it back, "
            "or name --forget to remove what only it needs"
        )
    for path in paths:
        print(f"{path}: {'forgotten' if path in missing else 'is kept whole'}")
    return [read_round(path) for path in paths if path not in missing], missing


def _remove_unfinished(outputs: Iterable[Path]) -> None:
    """Removes results that were being written when a harness was killed (see `harness.atomic`)."""
    for path in (path for output in outputs for path in output.glob(".*")):
        if re.fullmatch(r"\..+\.[0-9a-f]{12}", path.name) and path.is_file():
            path.unlink()


def _collect(store: Store, rounds: list[Round], forgotten: list[Path], dry_run: bool) -> None:
    units = [key for round_ in rounds for key in round_.unit_keys()]
    players = [player for round_ in rounds for player in round_.players()]
    submissions = {digest for round_ in rounds for digest in round_.submissions()}
    needed = {image.clean for round_ in rounds for image in round_.images}
    needed |= {audit.digest for key in units for audit in store.index.audits(key)}
    unused = {digest for digest in store.objects.digests() if digest not in needed}
    code = [folder for folder in store.code.iterdir() if folder.name not in submissions]
    print(f"{store.path}: {len(rounds)} runs need {len(needed)} images", end="; ")
    print(f"{len(unused)} other objects and {len(code)} copies of code are unused")
    if dry_run:
        return
    for path in forgotten:
        store.forget_round(path)
    store.index.keep_only(units, players)
    store.index.forget_sources(unused)
    freed = store.objects.remove(unused)
    for folder in code:
        remove_tree(folder)
    print(f"{store.path}: {freed / (1 << 20):.1f} MiB freed")
