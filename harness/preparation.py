"""From a tournament file to a round that can be played: everything is read, checked and digested first."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import harness
from harness.archive import unpack
from harness.config import Tournament
from harness.dataset import Dataset, Picture, load_dataset
from harness.digest import digest_bytes, digest_file
from harness.errors import UserError
from harness.images import ImageFaultError, read_png, write_png
from harness.plan import Player, attack_call, player_seed
from harness.records import Role
from harness.round import FILE_NAME, Round, RoundAttack, RoundDefense, RoundImage, read_round
from harness.sandbox import Sandbox
from harness.store import Store
from harness.submission import Submission, archive_name, check_names, find_submissions, is_archive, load_submission

OWN_SUBMISSIONS = Path(harness.__file__).resolve().parent.parent / "submissions"
"""Submissions below this folder are the project's own and need no word of trust."""

MAX_FAULTS = 20

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

    Raises: UserError with every fault of the dataset, or of the submissions.
    """
    dataset = load_dataset(tournament.dataset)
    submissions = take_in_submissions(tournament, store, sandbox.isolates, say)
    _check_label_spaces(submissions, dataset)
    for notice in dataset.notices:
        say(notice)
    images, size = take_in_images(dataset, store, pixels)
    _check_unchanged(images, dataset, tournament.output)
    players = [_player(tournament, store, sandbox, submission, use_gpu) for submission in submissions]
    defenses = _sorted(players, Role.DEFENSE)
    attacks = _sorted(players, Role.ATTACK) + _sorted(players, Role.TARGETED_ATTACK)
    return Prepared(_round(tournament, dataset, images, size, attacks, defenses), attacks, defenses, dataset)


def take_in_submissions(tournament: Tournament, store: Store, isolated: bool, say: Say) -> list[Submission]:
    """Reads, checks and copies every submission. Raises: UserError with the faults of all of them."""
    paths, notices = find_submissions(tournament.submissions)
    for notice in notices:
        say(notice)
    if not isolated and not tournament.trust_submissions:
        _check_trust(paths)
    found: list[Submission] = []
    faults: list[str] = []
    for path in paths:
        try:
            found.append(_take_in(path, store))
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(faults)
    check_names(found)
    return found


def _take_in(path: Path, store: Store) -> Submission:
    if not is_archive(path):
        return _keep(load_submission(path.resolve(), path.name), store)
    with store.work_folder() as folder:
        return _keep(load_submission(unpack(path, folder), archive_name(path)), store)


def _keep(submission: Submission, store: Store) -> Submission:
    """The same submission, standing on the store's own copy of its files."""
    kept = store.keep_code(submission.digest, submission.folder)
    return Submission(submission.name, submission.role, submission.metadata, kept, submission.digest)


def _check_trust(paths: Iterable[Path]) -> None:
    foreign = [path for path in paths if is_archive(path) or not path.resolve().is_relative_to(OWN_SUBMISSIONS)]
    if foreign:
        raise UserError(
            f"{foreign[0]}: the process sandbox does not isolate, and this submission is not the project's own; "
            "use --sandbox docker, or --trust-submissions if you trust its authors"
        )


def _check_label_spaces(submissions: Iterable[Submission], dataset: Dataset) -> None:
    space = dataset.labels.space
    faults = [
        f"{submission.name}: answers in the label space {submission.metadata.labels}, the dataset {dataset.name} is "
        f"labelled in {space}; leave it out or mend 'labels' in its metadata.json"
        for submission in submissions
        if submission.metadata.labels not in (None, space)
    ]
    if faults:
        raise UserError(faults)


def take_in_images(dataset: Dataset, store: Store, pixels: Executor) -> tuple[tuple[RoundImage, ...], tuple[int, int]]:
    """Makes every picture canonical, unless the store knows it; pictures and their (width, height) are returned.

    Raises: UserError naming the pictures that are not RGB PNGs of one size.
    """
    size = dataset.image_size or dataset.pictures[0].header_size()
    sources = list(pixels.map(lambda picture: digest_file(picture.path), dataset.pictures))
    present = store.object_digests()
    known = {
        source: canonical for source, canonical in store.index.canonical_of(sources).items() if canonical in present
    }
    unknown = [pair for pair in zip(dataset.pictures, sources, strict=True) if pair[1] not in known]
    results = list(pixels.map(lambda pair: _canonicalise(store, pair[0], pair[1], size), unknown))
    faults = [result for result in results if isinstance(result, str)]
    if faults:
        more = [f"... and {len(faults) - MAX_FAULTS} more images"] if len(faults) > MAX_FAULTS else []
        raise UserError(faults[:MAX_FAULTS] + more)
    made = [result for result in results if isinstance(result, tuple)]
    store.index.add_sources(made)
    known |= dict(made)
    images = tuple(
        RoundImage(picture.id, source, known[source], picture.true_label, picture.target_class)
        for picture, source in zip(dataset.pictures, sources, strict=True)
    )
    return images, size


def _canonicalise(store: Store, picture: Picture, source: str, size: tuple[int, int]) -> tuple[str, str] | str:
    """(source, canonical digest), or the line that says what is wrong with the picture."""
    data = picture.path.read_bytes()
    if digest_bytes(data) != source:
        return f"{picture.path}: changed while it was read; see who writes there and run again"
    try:
        return source, store.add_object(write_png(read_png(data, size)))
    except ImageFaultError as error:
        return f"{picture.path}: {error.detail}; every image of a dataset is an RGB PNG of one size, so convert it"


def _check_unchanged(images: Iterable[RoundImage], dataset: Dataset, output: Path) -> None:
    """A run goes on with the images that it began with, or not at all."""
    if not (output / FILE_NAME).exists():
        return
    began = read_round(output)
    before = {image.id: image.source for image in began.images} if began.dataset == dataset.name else {}
    paths = {picture.id: picture.path for picture in dataset.pictures}
    changed = [image.id for image in images if before.get(image.id, image.source) != image.source]
    if changed:
        raise UserError(changed_line(paths[changed[0]], len(changed)))


def changed_line(path: Path, count: int) -> str:
    others = f" (and {count - 1} more)" if count > 1 else ""
    return (
        f"{path}{others}: this image of the dataset changed since the run began; "
        "restore it, or begin a new run with another output"
    )


def changed_images(dataset: Dataset, images: Iterable[RoundImage], since: float) -> list[Path]:
    """Files of the dataset that were touched after `since` (seconds since 1970) and are not what they were."""
    sources = {image.id: image.source for image in images}
    touched = [picture for picture in dataset.pictures if _touched(picture.path) >= since]
    return [picture.path for picture in touched if _digest_or_none(picture.path) != sources[picture.id]]


def _touched(path: Path) -> float:
    """The time of the last change of the file or of what its name stands for; nobody can set that one back."""
    try:
        return path.stat().st_ctime
    except OSError:
        return float("inf")


def _digest_or_none(path: Path) -> str | None:
    try:
        return digest_file(path)
    except OSError:
        return None


def _player(tournament: Tournament, store: Store, sandbox: Sandbox, submission: Submission, use_gpu: bool) -> Player:
    container = sandbox.prepare(submission, use_gpu and submission.metadata.gpu)
    seed = player_seed(tournament.seed, submission)
    return Player(submission, submission.folder, container, seed, tournament.limits.resolve())


def _sorted(players: Iterable[Player], role: Role) -> list[Player]:
    return sorted((player for player in players if player.submission.role is role), key=lambda player: player.name)


def _round(
    tournament: Tournament,
    dataset: Dataset,
    images: tuple[RoundImage, ...],
    size: tuple[int, int],
    attacks: list[Player],
    defenses: list[Player],
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
        store=os.path.relpath(tournament.store_path, tournament.output),
    )
    return empty.with_attacks(tuple(_round_attack(player, empty) for player in attacks))


def _round_attack(player: Player, round_: Round) -> RoundAttack:
    units = tuple(
        tuple(
            attack_call(player, budget, number, batch).unit.key
            for number, (budget, batch) in enumerate(zip(budgets, round_.batches, strict=True))
        )
        for budgets in round_.budgets
    )
    targeted = player.submission.role is Role.TARGETED_ATTACK
    return RoundAttack(player.name, targeted, player.submission.digest, player.key, units)
