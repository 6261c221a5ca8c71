"""`harness check`: what would go wrong with a submission in a tournament, before it is handed in."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TextIO

from harness.atomic import write_atomic
from harness.check.conditions import Conditions, tournament_for
from harness.check.report import Finding, Report
from harness.check.session import Checked, examine
from harness.errors import EXPECTED_ERROR, OK, UserError

STDOUT = "-"


def main(arguments: argparse.Namespace) -> int:
    """0 where nothing is wrong, 1 where something is; with --strict a warning is enough for that."""
    stream = sys.stderr if arguments.json == STDOUT else sys.stdout
    report = Report(lambda finding: _show(finding, stream))
    checked = examine(_conditions(arguments), report, lambda line: print(f"...      {line}", file=stream, flush=True))
    passed = report.passed(strict=arguments.strict)
    print(_summary(report, passed), file=stream, flush=True)
    if arguments.json:
        _write(report, checked, arguments)
    return OK if passed else EXPECTED_ERROR


def _conditions(arguments: argparse.Namespace) -> Conditions:
    if arguments.images is not None and arguments.images < 1:
        raise UserError(f"command line: images: is a number of at least 1; got {arguments.images}")
    limits = {"seconds": arguments.seconds, "memory": arguments.memory, "cpus": arguments.cpus}
    options = {
        "epsilon": arguments.epsilon,
        "batch_size": arguments.batch_size,
        "sandbox": arguments.sandbox or os.environ.get("HARNESS_SANDBOX"),
        "trust_submissions": arguments.trust_submissions or None,
    }
    file, dataset = (Path(given) if given else None for given in (arguments.tournament, arguments.dataset))
    return Conditions(
        Path(arguments.submission),
        tournament_for(file, dataset, limits, options),
        dataset_named=bool(file or dataset),
        epsilon_named=bool(file) or arguments.epsilon is not None,
        images=arguments.images,
        full=arguments.full,
        static=arguments.static,
    )


def _show(finding: Finding, stream: TextIO) -> None:
    for line in finding.lines():
        print(line, file=stream, flush=True)


def _summary(report: Report, passed: bool) -> str:
    counts = ", ".join(f"{number} {level}" for level, number in report.counts.items() if number)
    return f"{'passed' if passed else 'failed'}: {counts}"


def _write(report: Report, checked: Checked, arguments: argparse.Namespace) -> None:
    document = report.document(checked.submission, checked.conditions, strict=arguments.strict)
    text = json.dumps(document, indent=2) + "\n"
    if arguments.json == STDOUT:
        sys.stdout.write(text)
    else:
        write_atomic(Path(arguments.json), text)
