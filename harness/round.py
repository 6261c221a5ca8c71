"""A round: a tournament resolved to digests, so that it can be scored from the store without anything else."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.atomic import write_atomic
from harness.dataset import LabelSpace
from harness.digest import digest_value
from harness.errors import UserError
from harness.records import Role

SCHEMA_VERSION = 1
FILE_NAME = "round.json"


@dataclass(frozen=True)
class RoundImage:
    """A picture of the round. source: digest of the dataset's file; clean: digest of its canonical image."""

    id: str
    source: str
    clean: str
    true_label: int
    target_class: int


@dataclass(frozen=True)
class RoundAttack:
    """units: the keys of its work units, [epsilon][batch]."""

    name: str
    targeted: bool
    submission: str
    player: str
    units: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class RoundDefense:
    """player: under which its predictions are known."""

    name: str
    submission: str
    player: str


@dataclass(frozen=True)
class Unavailable:
    """A submission that could not be played. reason: why. remedy: the command or the option that would help."""

    name: str
    type: Role
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name} ({self.type}) is unavailable: {self.reason}; remedy: {self.remedy}"


@dataclass(frozen=True)
class Round:
    """Everything that scoring needs besides the store.

    epsilons: names of the epsilon axis; budgets: [epsilon][batch], on the 0..255 scale. Attacks are the
    untargeted ones, then the targeted ones, each sorted by name, like the defenses. unavailable: who is left out,
    sorted by type and name.
    """

    tournament: str
    dataset: str
    labels: LabelSpace
    image_size: tuple[int, int]
    seed: int
    rules: str
    batch_size: int
    epsilons: tuple[str, ...]
    budgets: tuple[tuple[int, ...], ...]
    images: tuple[RoundImage, ...]
    attacks: tuple[RoundAttack, ...]
    defenses: tuple[RoundDefense, ...]
    store: str
    unavailable: tuple[Unavailable, ...] = ()

    @property
    def dataset_digest(self) -> str:
        """The digest of pictures, labels and target classes; the files' encoding is no part of it."""
        return digest_value("dataset", [[i.id, i.clean, i.true_label, i.target_class] for i in self.images])

    @property
    def batches(self) -> list[tuple[RoundImage, ...]]:
        starts = range(0, len(self.images), self.batch_size)
        return [self.images[start : start + self.batch_size] for start in starts]

    def with_attacks(self, attacks: tuple[RoundAttack, ...]) -> "Round":
        return replace(self, attacks=attacks)

    def unit_keys(self) -> list[str]:
        return [key for attack in self.attacks for keys in attack.units for key in keys]

    def players(self) -> list[str]:
        return [attack.player for attack in self.attacks] + [defense.player for defense in self.defenses]

    def submissions(self) -> set[str]:
        return {attack.submission for attack in self.attacks} | {defense.submission for defense in self.defenses}


def write_round(round_: Round, folder: Path) -> None:
    data = {"schema_version": SCHEMA_VERSION} | asdict(round_) | {"labels": round_.labels.model_dump()}
    write_atomic(folder / FILE_NAME, json.dumps(data, indent=1) + "\n")


def read_round(folder: Path) -> Round:
    """The round that was played into an output folder. Raises: UserError where there is none."""
    path = folder / FILE_NAME
    try:
        data = json.loads(path.read_text())
        if data.pop("schema_version", None) != SCHEMA_VERSION:
            raise UserError(f"{path}: was written by another version of the harness; run the tournament again")
        return _round_of(data)
    except FileNotFoundError:
        raise UserError(f"{folder}: no run was begun there ({FILE_NAME} is missing); harness run makes it") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read ({reason}); run the tournament again") from None


def _round_of(data: dict[str, Any]) -> Round:
    return Round(**data | {
        "labels": LabelSpace.model_validate(data["labels"]),
        "image_size": tuple(data["image_size"]),
        "epsilons": tuple(data["epsilons"]),
        "budgets": _nested(data["budgets"]),
        "images": tuple(RoundImage(**image) for image in data["images"]),
        "attacks": tuple(RoundAttack(**attack | {"units": _nested(attack["units"])}) for attack in data["attacks"]),
        "defenses": tuple(RoundDefense(**defense) for defense in data["defenses"]),
        "unavailable": tuple(Unavailable(**one | {"type": Role(one["type"])}) for one in data.get("unavailable", ())),
    })  # fmt: skip


def _nested(rows: Sequence[Sequence[Any]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(row) for row in rows)
