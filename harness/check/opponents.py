"""With --full: an attack meets a defense of the project, a defense an attack of it, and their success is counted."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from harness.bench import Bench, Seat, open_seat
from harness.check.conditions import PROJECT, Conditions
from harness.check.report import Check, Level, Report, Value, count
from harness.check.smoke import ending, said
from harness.config import LimitsConfig
from harness.errors import UserError
from harness.plan import attack_call, defense_call
from harness.preparation import Say
from harness.records import ImageAudit, Outcome, Role, Verdict

OPPONENTS = {
    "imagenet-1001": {Role.DEFENSE: "defenses/efficientnet_lite0", Role.ATTACK: "attacks/fgsm"},
    "digits": {Role.DEFENSE: "defenses/digits_inception", Role.ATTACK: "attacks/digits_fgsm_plain"},
}
"""Label space -> who of the project stands on the other side."""

BATCH = 100
"""Images for which an opponent has the time of one call."""


class OpponentAbsentError(UserError):
    """There is no opponent, or it does not play here; that says nothing about the submission."""


def meet_defense(
    made: Mapping[int, list[ImageAudit]], targeted: bool, bench: Bench, conditions: Conditions, report: Report, say: Say
) -> None:
    """made: what the attack made at each budget, as far as it was valid."""
    try:
        with _seat(Role.DEFENSE, bench, conditions, say) as seat:
            digests = {image.clean for image in bench.images}
            digests |= {audit.digest for audits in made.values() for audit in audits}
            say(f"asking {seat.player.name} about {count(len(digests), 'image')}")
            outcome = _well(seat, seat.play(defense_call(seat.player, digests, BATCH)))
            name = seat.player.name
    except UserError as error:
        _skip(error, report)
        return
    answers = {answer.digest: answer.label for answer in outcome.predictions}
    for epsilon, audits in made.items():
        count_hits = _targeted_hits if targeted else _untargeted_hits
        count_hits(epsilon, audits, answers, name, bench, report)


def _untargeted_hits(
    epsilon: int, audits: list[ImageAudit], answers: Mapping[str, int | None], name: str, bench: Bench, report: Report
) -> None:
    """Counted on the images that the defense labels correctly when they are clean."""
    images = {image.id: image for image in bench.images}
    fair = [audit for audit in audits if answers[images[audit.image].clean] == images[audit.image].true_label]
    hits = sum(answers[audit.digest] != images[audit.image].true_label for audit in fair)
    text = f"epsilon {epsilon}: {name} mislabels {hits} of {count(len(fair), 'image')} that it labels correctly clean"
    _add(epsilon, hits, len(fair), name, text, "it fools nobody here", report)


def _targeted_hits(
    epsilon: int, audits: list[ImageAudit], answers: Mapping[str, int | None], name: str, bench: Bench, report: Report
) -> None:
    images = {image.id: image for image in bench.images}
    hits = sum(answers[audit.digest] == images[audit.image].target_class for audit in audits)
    text = f"epsilon {epsilon}: {name} answers the target class for {hits} of {count(len(audits), 'image')}"
    _add(epsilon, hits, len(audits), name, text, "does it step towards the target, and does it transfer?", report)


def _add(epsilon: int, hits: int, images: int, name: str, text: str, doubt: str, report: Report) -> None:
    values: dict[str, Value] = {"opponent": name, "epsilon": epsilon, "hits": hits, "images": images}
    if hits or not images:
        report.add(Level.OK, Check.OPPONENT, text, values=values)
    else:
        report.add(Level.WARNING, Check.OPPONENT, f"{text}; {doubt}", values=values)


def meet_attack(
    defense: Seat, clean: Mapping[str, int | None], bench: Bench, conditions: Conditions, report: Report, say: Say
) -> None:
    """clean: digest of a clean image -> the defense's answer."""
    epsilon = max(conditions.budgets)
    try:
        with _seat(Role.ATTACK, bench, conditions, say) as seat:
            name = seat.player.name
            say(f"{name} attacks {count(len(bench.images), 'image')} at epsilon {epsilon}")
            made = _well(seat, seat.play(attack_call(seat.player, epsilon, 0, bench.images)))
    except UserError as error:
        _skip(error, report)
        return
    digests = {audit.digest for audit in made.images}
    say(f"asking {defense.player.name} about what {name} made")
    outcome = defense.play(defense_call(defense.player, digests, conditions.tournament.batch_size))
    answers = {answer.digest: answer.label for answer in outcome.predictions}
    pairs = list(zip(bench.images, made.images, strict=True))
    right = sum(clean[image.clean] == image.true_label for image, _ in pairs)
    kept = sum(answers[audit.digest] == image.true_label for image, audit in pairs)
    values: dict[str, Value] = {
        "opponent": name,
        "epsilon": epsilon,
        "images": len(pairs),
        "clean": right,
        "attacked": kept,
    }
    text = f"{right} of {count(len(pairs), 'image')} right when clean, {kept} when attacked by {name} at {epsilon}"
    if outcome.verdict is Verdict.OK:
        report.add(Level.OK, Check.OPPONENT, text, values=values)
    else:
        text = f"on what {name} made: {ending(outcome)}"
        report.add(Level.ERROR, Check.OPPONENT, text, values=values, details=said(outcome))


def _seat(role: Role, bench: Bench, conditions: Conditions, say: Say) -> AbstractContextManager[Seat]:
    """The opponent is the project's own, so that it plays without a container, within limits of its own."""
    known = OPPONENTS.get(bench.labels.space, {})
    folder = PROJECT / "submissions" / known.get(role, "none")
    if not folder.is_dir():
        raise OpponentAbsentError(f"the project has no {role} for labels of {bench.labels.space}")
    conditions_of_its_own = {"limits": LimitsConfig(), "runtime": None, "seccomp": None}
    tournament = conditions.seated(folder).model_copy(update=conditions_of_its_own)
    return open_seat(bench, tournament, "process", say)


def _well(seat: Seat, outcome: Outcome) -> Outcome:
    """Raises: OpponentAbsentError where the opponent itself failed."""
    if outcome.verdict is not Verdict.OK:
        last = said(outcome)[-1:] or ["it said nothing"]
        raise OpponentAbsentError(f"{seat.player.name} does not play here: {outcome.verdict} ({last[0].strip()})")
    return outcome


def _skip(error: UserError, report: Report) -> None:
    report.add(Level.SKIPPED, Check.OPPONENT, f"no opponent was met: {error}")
