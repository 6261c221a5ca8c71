"""A Ray cluster: each call is one task of Ray, which finds it a machine and plays it again when that is lost.

There is no scheduler, queue or lease of our own: the driver says what a task needs, where it should rather be and where
it must not be, and takes what comes back.
"""

import pickle
import secrets
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from harness.errors import EngineUnavailableError, InfrastructureError
from harness.executors import ray_node
from harness.executors.field import Field
from harness.executors.ray_archives import Archives
from harness.executors.ray_node import ImageMissingError, Kit, Orders, Reply
from harness.executors.ray_nodes import ENGINE_SHARE, Nodes, first_line
from harness.executors.ray_room import Needs
from harness.objects import check_answers
from harness.plan import Player
from harness.records import Call, Outcome

MOST_RETRIES = 2
"""How often Ray plays a call again by itself whose process or machine was lost."""

END_SECONDS = 60.0
"""How long calls may take to end that are stopped: their containers are removed meanwhile."""

NOBODY = "f" * 56
"""The id of no machine, where a list of them may not be empty."""


@dataclass(frozen=True)
class Sent:
    """A call that Ray has. excluded: machines where it must not be played."""

    call: Call
    excluded: frozenset[str]


class RayExecutor:
    """See `harness.executors.Executor`. Made by `muster`."""

    def __init__(self, orders: Orders, nodes: Nodes, archives: Archives, field: Field) -> None:
        self._orders, self._nodes, self._archives, self._field = orders, nodes, archives, field
        self._sent = ray.put(orders)
        self._task: Any = ray.remote(ray_node.play)
        self._running: dict[Any, Sent] = {}
        self._waiting: list[Call] = []
        """Calls whose image is being written to the objects."""
        self._avoided: defaultdict[str, set[str]] = defaultdict(set)
        self._held: defaultdict[str, set[str]] = defaultdict(set)
        """By player, and by the inputs of an attack's call: machines that had it."""

    @property
    def free_slots(self) -> int:
        asked = self._field.tournament.slots
        return self._nodes.free_slots(None if asked == "auto" else asked, [call.unit.gpu for call in self.running])

    @property
    def running(self) -> tuple[Call, ...]:
        return (*(sent.call for sent in self._running.values()), *self._waiting)

    def submit(self, call: Call) -> None:
        archive = self._archives.find(call.unit.container)
        excluded = self._nodes.excluded(self._avoided.get(call.unit.key, ()), call.unit.gpu)
        task = self._task.options(**self._needs(call), **self._whereabouts(call, excluded))
        self._running[task.remote(self._sent, call, archive)] = Sent(call, frozenset(excluded))

    def _needs(self, call: Call) -> dict[str, Any]:
        needs = self._nodes.needs
        return {
            "num_cpus": needs.cpus,
            "num_gpus": self._nodes.gpu_share if call.unit.gpu else 0,
            "memory": needs.memory,
            "resources": {"docker": ENGINE_SHARE} if self._nodes.engines else {},
            "max_retries": MOST_RETRIES,
            "name": call.label,
        }

    def _whereabouts(self, call: Call, excluded: set[str]) -> dict[str, Any]:
        """Never where it must not be; rather where its player or its input was. Ray falls back when that is busy."""
        anywhere = {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(excluded) or [NOBODY])})"}}
        playing = self._nodes.fitting(call.unit.gpu) - excluded
        player, inputs = (self._held.get(key, set()) & playing for key in (call.unit.player, call.unit.inputs))
        rather = (player & inputs) or player or inputs
        if not rather or rather == playing:
            return anywhere
        return {
            "label_selector": {"ray.io/node-id": f"in({','.join(sorted(rather))})"},
            "fallback_strategy": [anywhere],
        }

    def wait(self, seconds: float) -> tuple[Call, Outcome | Exception] | None:
        self._nodes.refresh()
        self._nodes.check_room({call.unit.gpu for call in self.running} or self._nodes.needs.kinds)
        self._send_on()
        if ended := self._submit_again():
            return ended
        if not self._running:
            time.sleep(min(seconds, 1.0))
            return None
        ready, _ = ray.wait(list(self._running), timeout=seconds)
        return self._settle(ready[0]) if ready else None

    def _send_on(self) -> None:
        """Calls that may only go where nobody plays any more, and not to who came meanwhile: Ray would keep them."""
        fitting = {gpu: self._nodes.fitting(gpu) for gpu in self._nodes.needs.kinds}
        for task, sent in list(self._running.items()):
            if fitting[sent.call.unit.gpu] and fitting[sent.call.unit.gpu] <= sent.excluded:
                ray.cancel(task)
                del self._running[task]
                self.submit(sent.call)

    def _settle(self, task: Any) -> tuple[Call, Outcome | Exception] | None:
        call = self._running.pop(task).call
        reply = _reply(task)
        if isinstance(reply, Exception):
            return call, reply
        if isinstance(reply.result, ImageMissingError):
            self._archives.ask(call.unit.container)
            self._waiting.append(call)
            return None
        if isinstance(reply.result, InfrastructureError):
            self._avoided[call.unit.key].add(reply.node)
            self._nodes.failed(reply.node, reply.result)
        else:
            self._nodes.succeeded(reply.node)
            self._avoided.pop(call.unit.key, None)
        self._held[call.unit.player].add(reply.node)
        if call.unit.epsilon is not None:  # what a defense is asked comes but once
            self._held[call.unit.inputs].add(reply.node)
        return call, reply.result

    def _submit_again(self) -> tuple[Call, Exception] | None:
        """Calls whose image has come to the objects meanwhile; one of those whose image cannot be written."""
        for call in [one for one in self._waiting if not self._archives.is_awaited(one.unit.container)]:
            self._waiting.remove(call)
            if failure := self._archives.failure(call.unit.container):
                return call, InfrastructureError(f"the image of {call.label} cannot be written ({failure})")
            self.submit(call)
        return None

    def check(self) -> None:
        self._nodes.refresh()
        if not self._nodes.playing:
            raise EngineUnavailableError("no machine of the cluster is left to play on; `ray start` brings one back")
        check_answers(self._field.store.objects)

    def sweep(self) -> int:
        return self._nodes.sweep()

    def describe(self) -> list[dict[str, Any]]:
        """The machines that play, for provenance: never part of a leaderboard."""
        return [one.describe() for one in self._nodes.playing]

    def close(self) -> None:
        with suppress(RayError):  # the cluster may be what we end for
            for task in self._running:
                ray.cancel(task)
            if self._running:
                ray.wait(list(self._running), num_returns=len(self._running), timeout=END_SECONDS)
        self._archives.close()
        self._nodes.sweep()  # a process that was lost may have left a container, and Ray tells nobody of it


def _reply(task: Any) -> Reply | Exception:
    try:
        reply: Reply = ray.get(task)
    except RayTaskError as error:
        return error  # a bug of ours, with the traceback of the machine where it happened
    except RayError as error:
        return InfrastructureError(f"Ray lost a call ({first_line(error)})")
    return reply


def muster(field: Field, *, home: bool) -> RayExecutor:
    """An executor on the cluster that this process is connected to, after a look at each machine.

    home: whether that is this machine alone, where all have the store's own folder.
    Raises: UserError, with one clear line for each reason, where nothing can be played there.
    """
    orders = _orders(field, home=home)
    nodes = Nodes(_needs(field), pickle.dumps(orders), field.store.objects.has, orders.probe, field.say)
    nodes.muster(field.sandbox.name)
    if nodes.swept:
        field.say(f"removed {nodes.swept} that earlier runs left behind on the machines of the cluster")
    return RayExecutor(orders, nodes, Archives(field.sandbox, field.store, field.say), field)


def _orders(field: Field, *, home: bool) -> Orders:
    store, tournament = field.store, field.tournament
    return Orders(
        token=secrets.token_hex(8),
        store=store.identity,
        home=store.path.resolve() if home else None,
        objects=store.objects.place,
        probe=store.objects.add(b"The driver of a run, to the machines of its cluster: can you read this?\n"),
        sandbox=field.sandbox.name,
        environment=None if field.sandbox.isolates else field.players[0].container,
        runtime=tournament.runtime,
        seccomp=field.seccomp,
        image_size=field.round.image_size,
        labels=field.round.labels,
        kits={player.key: _kit(field, player, home=home) for player in field.players},
    )


def _kit(field: Field, player: Player, *, home: bool) -> Kit:
    tree = "" if home else field.store.share_code(player.code)
    return Kit(player.code.name, tree, field.sandbox.names(player.container), player.submission.weights)


def _needs(field: Field) -> Needs:
    limits = field.tournament.limits.resolve()
    gpus = {player.gpu for player in field.players}
    return Needs(limits.cpus or 1, limits.memory, limits.gpu_memory, True in gpus, False in gpus)
