"""What an executor is made for, one run of one round, and the literal table of all kinds of executors."""

import importlib
from collections.abc import Callable
from concurrent.futures import Executor as Pool
from dataclasses import dataclass
from typing import Any, Protocol

from harness.config import Tournament
from harness.errors import UserError
from harness.executors import Executor
from harness.plan import Player
from harness.preparation import Prepared
from harness.round import Round
from harness.sandbox import Sandbox, read_profile
from harness.store import Store

GROUNDS = {"local": "harness.executors.local_ground", "ray": "harness.executors.ray_ground"}


@dataclass(frozen=True)
class Field:
    """A round that is ready to be played. pixels: the pool that decodes and encodes images on this machine."""

    tournament: Tournament
    store: Store
    sandbox: Sandbox
    prepared: Prepared
    pixels: Pool
    say: Callable[[str], None]

    @property
    def round(self) -> Round:
        return self.prepared.round

    @property
    def players(self) -> list[Player]:
        return [*self.prepared.attacks, *self.prepared.defenses]

    @property
    def seccomp(self) -> str | None:
        """The text of the profile."""
        return read_profile(self.tournament.seccomp)


class Ground(Protocol):
    """One kind of executor, before there is anything to play."""

    has_gpus: bool
    """Whether calls may have one."""

    def executor(self, field: Field) -> Executor:
        """Raises: UserError where the round cannot be played there."""

    def facts(self) -> dict[str, Any]:
        """What `provenance.json` says of it, once there was an executor."""

    def close(self) -> None:
        """Lets go of what it holds."""


def open_ground(tournament: Tournament) -> Ground:
    """Raises: UserError when that kind of executor is not to be had here, or not at the address that is given."""
    if tournament.ray_address and tournament.executor != "ray":
        raise UserError("ray_address: is for the executor ray; say executor: ray (--executor ray), or leave it out")
    ground: Ground = importlib.import_module(GROUNDS[tournament.executor]).Ground(tournament)
    return ground
