"""`harness diff`: what moved between two runs, and why; also as a gate."""

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path

from harness.atomic import write_atomic
from harness.commands.options import folder_of
from harness.diff.build import build_diff
from harness.diff.text import lines_of
from harness.errors import EXPECTED_ERROR, OK, UserError
from harness.publish.evidence import Evidence, collect, collect_files, read_evidence
from harness.publish.manifest import FILE_NAME as MANIFEST
from harness.publish.provenance import published_provenance
from harness.round import read_round
from harness.terminal import PlainConsole, Terminal
from harness.tournament import find_store

STDOUT = "-"


def main(arguments: argparse.Namespace) -> int:
    """0, or 1 where what --fail-on names has moved."""
    diff = build_diff(evidence_of(arguments.before), evidence_of(arguments.after), arguments.rules)
    Terminal(PlainConsole(stderr=arguments.json == STDOUT)).lines(lines_of(diff))
    if arguments.json:
        _write(json.dumps(diff, indent=2) + "\n", arguments.json)
    return EXPECTED_ERROR if arguments.fail_on and diff["moved"][arguments.fail_on] else OK


def evidence_of(run: str) -> Evidence:
    """Of a run, by its output folder or tournament file, or of what was published of one. Raises: UserError."""
    folder = folder_of(run)
    if (folder / MANIFEST).exists():
        from harness.publish.bundle import EVIDENCE  # here, for it brings everything that draws

        return read_evidence(folder / EVIDENCE)
    evidence = _of_output(folder)
    try:
        published_provenance(evidence.provenance)
    except (ValueError, TypeError, KeyError, AttributeError):
        path = folder / "provenance.json"
        raise UserError(f"{path}: is not what a run writes; run the same command again") from None
    return evidence


def _of_output(folder: Path) -> Evidence:
    store = find_store(folder, read_round(folder))
    if store is None:
        return collect_files(folder)
    with closing(store):
        return collect(folder, store)


def _write(text: str, target: str) -> None:
    if target == STDOUT:
        sys.stdout.write(text)
    else:
        write_atomic(Path(target), text)
