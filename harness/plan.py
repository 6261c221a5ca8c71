"""What a call is made of: the player, the images under the names that it sees, and the key of all that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from harness.digest import digest_value, digester, seed_from
from harness.records import Call, Limits, Role, WorkUnit
from harness.round import RoundImage
from harness.submission import Submission


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


def attack_inputs(batch: Sequence[RoundImage], *, targeted: bool) -> str:
    """The digest of what an attack of this kind finds in its input; it is the same for all attacks."""
    images, targets = _given(batch, targeted=targeted)
    return digest_value("inputs", [list(images.items()), list(targets.items()) if targets else None])


def attack_unit(player: Player, epsilon: int, inputs: str) -> WorkUnit:
    """The work unit of an attack for one batch (its `attack_inputs`) and one budget."""
    return replace(player.unit, inputs=inputs, epsilon=epsilon)


def attack_call(player: Player, epsilon: int, number: int, batch: Sequence[RoundImage]) -> Call:
    """The call of an attack for one batch and one budget; true labels are no part of it."""
    targeted = player.submission.role is Role.TARGETED_ATTACK
    unit = attack_unit(player, epsilon, attack_inputs(batch, targeted=targeted))
    label = f"{player.name} epsilon {epsilon} batch {number + 1}"
    return _call(player, unit, label, *_given(batch, targeted=targeted), player.limits.seconds)


def _given(batch: Sequence[RoundImage], *, targeted: bool) -> tuple[dict[str, str], dict[str, int] | None]:
    """File name -> image, and file name -> target class where the attack is told."""
    images = {f"{image.id}.png": image.clean for image in batch}
    return images, {f"{image.id}.png": image.target_class for image in batch} if targeted else None


def defense_call(player: Player, digests: Iterable[str], batch_size: int) -> Call:
    """A call of a defense: each image under a name that tells nothing, in an order that tells nothing."""
    name_of = digester("name", [player.seed, player.key])
    names = sorted((name_of(digest)[:16], digest) for digest in digests)
    images = {f"{name}.png": digest for name, digest in names}
    unit = replace(player.unit, inputs=digest_value("inputs", list(images.items())))
    batches = -(-len(images) // batch_size)
    label = f"{player.name} on {len(images)} images"
    return _call(player, unit, label, images, None, player.limits.seconds * batches)


def _call(
    player: Player, unit: WorkUnit, label: str, images: dict[str, str], targets: dict[str, int] | None, seconds: float
) -> Call:
    return Call(unit, label, player.submission.metadata.entry_point, player.code, images, targets, seconds)
