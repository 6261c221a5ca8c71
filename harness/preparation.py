"""From a tournament file to a round that can be played: everything is read, checked and digested first."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import harness
from harness.archive import unpack
from harness.config import Tournament
from harness.dataset import Dataset, load_dataset
from harness.errors import UserError
from harness.intake import check_unchanged, take_in_images
from harness.plan import Player, attack_inputs, attack_unit, player_seed
from harness.records import Role
from harness.round import Round, RoundAttack, RoundDefense, RoundImage, Unavailable
from harness.sandbox import Sandbox
from harness.store import Store
from harness.submission import (
    Entry,
    Submission,
    UnavailableError,
    archive_name,
    check_names,
    find_submissions,
    is_archive,
    load_submission,
)
from harness.weights import fetch_command

OWN_SUBMISSIONS = Path(harness.__file__).resolve().parent.parent / "submissions"
"""Submissions below this folder are the project's own and need no word of trust."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A round and its players, in the order of the round's attacks and defenses."""

    round: Round
    attacks: list[Player]
    defenses: list[Player]
    dataset: Dataset


def prepare(
    tournament: Tournament, store: Store, sandbox: Sandbox, pixels: Executor, use_gpu: bool, say: Say
) -> Prepared:
    """Takes dataset and submissions into the store and resolves everything to digests.

    Raises: UserError with every fault of the dataset, or of the submissions, or where nobody of a kind is available.
    """
    dataset = load_dataset(tournament.dataset)
    submissions, lacking = take_in_submissions(tournament, store, sandbox.isolates, say)
    _check_label_spaces([*submissions, *(error.entry for error in lacking)], dataset)
    for notice in dataset.notices:
        say(notice)
    images, size = take_in_images(dataset, store, pixels)
    check_unchanged(images, dataset, tournament.output)
    players, refused = _players(tournament, sandbox, submissions, use_gpu)
    absent = sorted([*lacking, *refused], key=lambda error: (error.entry.role, error.entry.name))
    unavailable = tuple(Unavailable(one.entry.name, one.entry.role, one.reason, one.remedy) for one in absent)
    for one in unavailable:
        say(str(one))
    defenses = _sorted(players, Role.DEFENSE)
    attacks = _sorted(players, Role.ATTACK) + _sorted(players, Role.TARGETED_ATTACK)
    if not attacks or not defenses:
        raise _nobody(tournament, absent, defenses=bool(attacks))
    round_ = _round(tournament, dataset, images, size, attacks, defenses, unavailable)
    return Prepared(round_, attacks, defenses, dataset)


def take_in_submissions(
    tournament: Tournament, store: Store, isolated: bool, say: Say
) -> tuple[list[Submission], list[UnavailableError]]:
    """Reads, checks and copies every submission that is available; those that are not are returned beside them.

    Raises: UserError with the faults of all of them.
    """
    paths, notices = find_submissions(tournament.submissions)
    for notice in notices:
        say(notice)
    if not isolated and not tournament.trust_submissions:
        _check_trust(paths)
    found: list[Submission] = []
    unavailable: list[UnavailableError] = []
    faults: list[str] = []
    for path in paths:
        try:
            found.append(_take_in(path, store))
        except UnavailableError as error:
            unavailable.append(error)
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(faults)
    check_names([*found, *(error.entry for error in unavailable)])
    return found, unavailable


def _take_in(path: Path, store: Store) -> Submission:
    if not is_archive(path):
        return _keep(load_submission(path.resolve(), path.name), store)
    with store.work_folder() as folder:
        return _keep(load_submission(unpack(path, folder), archive_name(path)), store)


def _keep(submission: Submission, store: Store) -> Submission:
    """The same submission, standing on the store's own copy of its files."""
    kept = store.keep_code(submission.digest, submission.folder, submission.weights)
    return replace(submission, folder=kept, weights=tuple(one.within(kept) for one in submission.weights))


def is_own(path: Path) -> bool:
    """Whether it is one of the project's own submissions."""
    return not is_archive(path) and path.resolve().is_relative_to(OWN_SUBMISSIONS)


def _check_trust(paths: Iterable[Path]) -> None:
    foreign = [path for path in paths if not is_own(path)]
    if foreign:
        raise UserError(
            f"{foreign[0]}: the process sandbox does not isolate, and this submission is not the project's own; "
            "use --sandbox docker, or --trust-submissions if you trust its authors"
        )


def _check_label_spaces(submissions: Iterable[Entry], dataset: Dataset) -> None:
    space = dataset.labels.space
    faults = [
        f"{submission.name}: answers in the label space {submission.metadata.labels}, the dataset {dataset.name} is "
        f"labelled in {space}; leave it out or mend 'labels' in its metadata.json"
        for submission in submissions
        if submission.metadata.labels not in (None, space)
    ]
    if faults:
        raise UserError(faults)


def _players(
    tournament: Tournament, sandbox: Sandbox, submissions: Iterable[Submission], use_gpu: bool
) -> tuple[list[Player], list[UnavailableError]]:
    """Those that the sandbox can run, and those that it cannot."""
    players: list[Player] = []
    refused: list[UnavailableError] = []
    for submission in submissions:
        try:
            players.append(make_player(tournament, sandbox, submission, use_gpu))
        except UnavailableError as error:
            refused.append(error)
    return players, refused


def make_player(tournament: Tournament, sandbox: Sandbox, submission: Submission, use_gpu: bool) -> Player:
    """Raises: UnavailableError where the sandbox cannot run it, UserError where its container is not to be had."""
    gpu = use_gpu and submission.metadata.gpu
    container = sandbox.prepare(submission, gpu)
    seed = player_seed(tournament.seed, submission)
    return Player(submission, submission.folder, container, seed, tournament.limits.resolve(), gpu)


def _nobody(tournament: Tournament, absent: Sequence[UnavailableError], *, defenses: bool) -> UserError:
    """Why there is no round: nobody of one kind was named, or nobody of it is available."""
    kind = "defense" if defenses else "attack"
    left_out = [error for error in absent if (error.entry.role is Role.DEFENSE) is defenses]
    if not left_out:
        return UserError(f"{tournament.name}: there is no {kind} among the submissions; add one under 'submissions'")
    missing = sorted({name for error in left_out for name in error.missing})
    remedies = [fetch_command(missing)] if missing else []
    remedies += sorted({error.remedy for error in left_out if not error.missing})
    names = ", ".join(error.entry.name for error in left_out)
    return UserError(f"{tournament.name}: every {kind} is unavailable ({names}); use {' and '.join(remedies)}")


def _sorted(players: Iterable[Player], role: Role) -> list[Player]:
    return sorted((player for player in players if player.submission.role is role), key=lambda player: player.name)


def _round(
    tournament: Tournament,
    dataset: Dataset,
    images: tuple[RoundImage, ...],
    size: tuple[int, int],
    attacks: list[Player],
    defenses: list[Player],
    unavailable: tuple[Unavailable, ...],
) -> Round:
    batches = range(-(-len(images) // tournament.batch_size))
    per_batch = [tournament.epsilons(batch) for batch in batches]
    empty = Round(
        tournament=tournament.name,
        dataset=dataset.name,
        labels=dataset.labels,
        image_size=size,
        seed=tournament.seed,
        rules=tournament.rules,
        batch_size=tournament.batch_size,
        epsilons=tuple(tournament.epsilon_labels),
        budgets=tuple(zip(*per_batch, strict=True)),
        images=images,
        attacks=(),
        defenses=tuple(RoundDefense(player.name, player.submission.digest, player.key) for player in defenses),
        store=os.path.relpath(tournament.store_path.resolve(), tournament.output.resolve()),
        unavailable=unavailable,
    )
    inputs = {
        targeted: [attack_inputs(batch, targeted=targeted) for batch in empty.batches] for targeted in (False, True)
    }
    return empty.with_attacks(tuple(_round_attack(player, empty.budgets, inputs) for player in attacks))


def _round_attack(
    player: Player, all_budgets: Iterable[Sequence[int]], inputs: Mapping[bool, Sequence[str]]
) -> RoundAttack:
    """inputs: whether the attack is targeted -> the digest of each batch as it sees it."""
    targeted = player.submission.role is Role.TARGETED_ATTACK
    units = tuple(
        tuple(attack_unit(player, budget, batch).key for budget, batch in zip(budgets, inputs[targeted], strict=True))
        for budgets in all_budgets
    )
    return RoundAttack(player.name, targeted, player.submission.digest, player.key, units)
