"""This machine, before there is anything to play on it: its cores and GPUs as slots."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness import machine
from harness.calls import Arena
from harness.config import Tournament
from harness.depot import Depot
from harness.errors import UserError
from harness.executors.field import Field
from harness.executors.local import LocalExecutor, Play, count_slots, share_out
from harness.objects import Objects, check_answers
from harness.plan import Player
from harness.records import Call, Outcome, Slot
from harness.sandbox import Sandbox
from harness.weights import rewritten


class Ground:
    """See `harness.executors.field.Ground`."""

    def __init__(self, tournament: Tournament) -> None:
        self._gpus = own_gpus(tournament)
        self._slots = _slots(tournament, self._gpus)
        self.has_gpus = bool(self._gpus)

    def executor(self, field: Field) -> LocalExecutor:
        arena = Arena(field.sandbox, field.store, field.round.image_size, field.round.labels, field.pixels)
        own = Playground(field.sandbox, field.store.objects)
        return LocalExecutor(self._slots, _guarded(arena.play, field.store, field.players), own)

    def facts(self) -> dict[str, Any]:
        return {"slots": [{"cores": list(slot.cores), "gpu": slot.gpu} for slot in self._slots]}

    def close(self) -> None:
        """There is nothing to let go of."""


@dataclass(frozen=True)
class Playground:
    """See `harness.executors.local.Ground`: the sandbox, and where the images of calls come from and go to."""

    sandbox: Sandbox
    objects: Objects

    def check(self) -> None:
        self.sandbox.check()
        check_answers(self.objects)

    def sweep(self) -> int:
        return self.sandbox.sweep()


def own_gpus(tournament: Tournament) -> list[str]:
    """Those of this machine that calls may have. Raises: UserError where there must be some."""
    if tournament.gpu is False:
        return []
    found = machine.gpus()
    if tournament.gpu is True and not found:
        raise UserError("gpu: true, but nvidia-smi lists no GPU on this machine; set gpu: auto or install the driver")
    return found


def check_cores(tournament: Tournament) -> None:
    """Raises: UserError where a call takes more than this machine has."""
    cpus, cores = tournament.limits.resolve().cpus, machine.usable_cores()
    if cpus and cpus > len(cores):
        raise UserError(f"limits.cpus: {cpus} cores for each call, this machine has {len(cores)}; lower it")


def _slots(tournament: Tournament, gpus: list[str]) -> list[Slot]:
    check_cores(tournament)
    cores, limits = machine.usable_cores(), tournament.limits.resolve()
    if tournament.slots != "auto":
        return share_out(tournament.slots, cores, gpus, limits.cpus)
    slots = count_slots(len(cores), len(gpus), machine.total_memory(), limits.memory, limits.cpus)
    return share_out(slots, cores, gpus, limits.cpus)


def _guarded(play: Play, depot: Depot, players: Iterable[Player]) -> Play:
    """`play` between two looks at code and weights: a link shows whatever is written into the file that it was made of,
    and what is gone of the code is not the submission's fault."""
    weights = {player.code: player.submission.weights for player in players}

    def look(call: Call) -> None:
        if changed := rewritten(weights[call.code]):
            names = ", ".join(changed)
            raise UserError(f"the weights {names} were rewritten during the run; run again, and it plays the new ones")

    def guarded(call: Call, slot: Slot, stop: threading.Event) -> Outcome:
        with depot.unharmed(call.code):
            look(call)
            outcome = play(call, slot, stop)
        look(call)
        return outcome

    return guarded
