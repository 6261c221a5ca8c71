"""What is to be called, and when: attack calls for each batch, defense calls from what is not yet known."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from harness.digest import digest_value, seed_from
from harness.records import Call, Limits, Role, WorkUnit
from harness.round import RoundImage
from harness.submission import Submission

MIXED_VERSIONS = 3
"""Versions of each picture that are waited for before a call, while attacks are still to be begun."""


@dataclass(frozen=True)
class Player:
    """A submission ready to be called.

    code: the store's copy. container: digest of what it runs in. gpu: whether its calls get one.
    """

    submission: Submission
    code: Path
    container: str
    seed: int
    limits: Limits
    gpu: bool = False

    @property
    def name(self) -> str:
        return self.submission.name

    @cached_property
    def unit(self) -> WorkUnit:
        """The work unit of a call with nothing in it: what all calls of this player have in common."""
        submission = self.submission
        role, digest = submission.role, submission.digest
        return WorkUnit(role, digest, self.container, "", None, self.seed, self.limits, self.gpu)

    @cached_property
    def key(self) -> str:
        return self.unit.player


def player_seed(master: int, submission: Submission) -> int:
    """A seed of its own for each submission, whatever it is called; it is passed in HARNESS_SEED."""
    return seed_from("player", [master, submission.digest])


def attack_call(player: Player, epsilon: int, number: int, batch: tuple[RoundImage, ...]) -> Call:
    """The call of an attack for one batch and one budget; true labels are no part of it."""
    targeted = player.submission.role is Role.TARGETED_ATTACK
    images = {f"{image.id}.png": image.clean for image in batch}
    targets = {f"{image.id}.png": image.target_class for image in batch} if targeted else None
    inputs = digest_value("inputs", [list(images.items()), list(targets.items()) if targets else None])
    unit = replace(player.unit, inputs=inputs, epsilon=epsilon)
    label = f"{player.name} epsilon {epsilon} batch {number + 1}"
    return _call(player, unit, label, images, targets, player.limits.seconds)


def defense_call(player: Player, digests: Iterable[str], batch_size: int) -> Call:
    """A call of a defense: each image under a name that tells nothing, in an order that tells nothing."""
    names = sorted((digest_value("name", [player.seed, player.key, digest])[:16], digest) for digest in digests)
    images = {f"{name}.png": digest for name, digest in names}
    unit = replace(player.unit, inputs=digest_value("inputs", list(images.items())))
    batches = -(-len(images) // batch_size)
    label = f"{player.name} on {len(images)} images"
    return _call(player, unit, label, images, None, player.limits.seconds * batches)


def _call(
    player: Player, unit: WorkUnit, label: str, images: dict[str, str], targets: dict[str, int] | None, seconds: float
) -> Call:
    return Call(unit, label, player.submission.metadata.entry_point, player.code, images, targets, seconds)


class DefenseQueue:
    """Images that one defense has still to label, by picture.

    A call takes at most one version of a picture (unless `all_versions`), drawn at random, so that a defense
    can neither average several versions nor tell the attacks apart by what comes together.
    """

    def __init__(
        self, player: Player, known: Iterable[str], pictures: int, batch_size: int, *, all_versions: bool
    ) -> None:
        self.player = player
        self._seen = set(known)
        self._pending: dict[str, list[str]] = {}
        self._full = min(pictures, batch_size)
        self._batch_size = batch_size
        self._all_versions = all_versions
        self._random = random.Random(player.seed)

    def __len__(self) -> int:
        return sum(map(len, self._pending.values()))

    @property
    def is_mixed(self) -> bool:
        """Whether there are enough versions of enough pictures for a call of full size that mixes attacks."""
        return not self._all_versions and len(self) >= MIXED_VERSIONS * self._full

    def add(self, picture: str, digest: str) -> None:
        """Asks for the label of an image, unless it is known or asked for already."""
        if digest not in self._seen:
            self._seen.add(digest)
            self._pending.setdefault(picture, []).append(digest)

    def take(self) -> Call:
        """The next call; the queue must not be empty."""
        chosen = list(self._draw())
        self._pending = {picture: left for picture, left in self._pending.items() if left}
        return defense_call(self.player, chosen, self._batch_size)

    def _draw(self) -> Iterator[str]:
        if self._all_versions:
            for versions in self._pending.values():
                yield from versions
                versions.clear()
            return
        pictures = sorted(self._pending, key=lambda picture: (-len(self._pending[picture]), picture))
        for picture in pictures[: self._batch_size]:
            versions = self._pending[picture]
            yield versions.pop(self._random.randrange(len(versions)))
