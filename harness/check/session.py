"""One check from end to end, in the order of its steps; what cannot go on ends in a finding, not in silence."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bench import open_bench, open_seat
from harness.check import opponents, static
from harness.check.attack import AttackCheck, Eyes
from harness.check.conditions import Conditions, label_spaces
from harness.check.defense import DefenseCheck
from harness.check.report import Check, Level, Report
from harness.dataset import Dataset, describe, load_dataset
from harness.errors import UserError
from harness.preparation import Say
from harness.records import Role
from harness.submission import Entry, Submission, archive_name, is_archive

NO_TARGETS = "whether the target classes are reached is not known without a defense; --full asks one"


@dataclass(frozen=True)
class Checked:
    """What was checked and how, for the report; empty as far as it did not come to that."""

    submission: Mapping[str, Any]
    conditions: Mapping[str, Any]


def examine(conditions: Conditions, report: Report, say: Say) -> Checked:
    """Every step that can be made. Raises: UserError where nothing is at the path."""
    path = conditions.path
    if not path.is_dir() and not is_archive(path):
        raise UserError(f"{path}: is no folder and no archive (.zip, .tar, .tar.gz, .tgz); check the path")
    name = archive_name(path) if is_archive(path) else path.resolve().name
    with static.opened(path, report) as folder:
        entry = static.check_files(folder, name, conditions.tournament.images, report) if folder else None
        played: dict[str, Any] = {}
        if entry and folder and not conditions.static:
            played = _play_or_say_why(entry, folder, conditions, report, say)
        return Checked(_about(path, entry), _under(conditions) | played)


def _about(path: Path, entry: Entry | None) -> dict[str, Any]:
    digest = entry.digest if isinstance(entry, Submission) else None
    name, role = (entry.name, entry.role.value) if entry else (None, None)
    return {"path": str(path), "name": name, "type": role, "digest": digest}


def _under(conditions: Conditions) -> dict[str, Any]:
    limits = conditions.tournament.limits
    return {
        "full": conditions.full, "static": conditions.static, "epsilons": list(conditions.budgets),
        "batch_size": conditions.tournament.batch_size, "seconds": limits.seconds, "memory": limits.memory,
        "sandbox": None, "dataset": None, "images": 0,
    }  # fmt: skip


def _play_or_say_why(
    entry: Entry, folder: Path, conditions: Conditions, report: Report, say: Say
) -> dict[str, Any]:  # fmt: skip
    """What was played, and on what. A submission that cannot be played at all is an error: nothing is known of it."""
    try:
        config = conditions.dataset(entry.metadata.labels)
        space, declared = describe(config.path).labels.space, entry.metadata.labels
        fits = static.check_label_space(declared, space, label_spaces(), config.path.name, report)
        if not fits or not isinstance(entry, Submission):
            report.add(Level.SKIPPED, Check.SANDBOX, "it was not run: mend the errors above first")
            return {}
        dataset = conditions.part(load_dataset(config))
        _play(entry.role, folder, dataset, conditions, report, say)
    except UserError as error:
        for fault in error.faults:
            report.add(Level.ERROR, Check.SANDBOX, f"it was not run: {fault}")
        return {}
    return {"sandbox": conditions.sandbox_name, "dataset": dataset.name, "images": len(dataset.pictures)}


def _play(role: Role, folder: Path, dataset: Dataset, conditions: Conditions, report: Report, say: Say) -> None:
    eyes = Eyes()
    tournament = conditions.seated(folder)
    with (
        open_bench(dataset) as bench,
        open_seat(bench, tournament, conditions.sandbox_name, say, eyes.witness) as seat,
    ):
        isolation = "" if seat.arena.sandbox.isolates else ", which does not isolate"
        text = f"{seat.player.name} is played in the {seat.arena.sandbox.name} sandbox{isolation}, on {dataset.name}"
        report.add(Level.OK, Check.SANDBOX, text, values={"sandbox": seat.arena.sandbox.name})
        if role is Role.DEFENSE:
            clean = DefenseCheck(bench, seat, conditions, report, say).run()
            if conditions.full:
                opponents.meet_attack(seat, clean, bench, conditions, report, say)
            return
        made = AttackCheck(bench, seat, conditions, eyes, report, say).run()
        if conditions.full:
            opponents.meet_defense(made, role is Role.TARGETED_ATTACK, bench, conditions, report, say)
        elif role is Role.TARGETED_ATTACK:
            report.add(Level.SKIPPED, Check.OPPONENT, NO_TARGETS)
