"""Plays a round: attacks first, defenses as soon as there is something to label, until all is known."""

import errno
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from harness.errors import EngineUnavailableError, InfrastructureError, StoreDamagedError, UserError
from harness.executors import Executor
from harness.plan import DefenseQueue, Player, attack_call
from harness.records import Call, ImageAudit, Outcome, Role
from harness.round import Round
from harness.sandbox import Sandbox
from harness.store import Store

MAX_ATTEMPTS = 3
"""How often a call is tried whose failure is ours."""

BACK_OFF_SECONDS = 1.0
"""Before the first time that something is tried again; twice as long before each further one."""

MAX_CHECKS = 5
"""How often a sandbox is asked whether it answers again: long enough for an engine that is started anew."""

LOOK_SECONDS = 1.0
"""How often the display is told how far it is, and a signal or a due retry is looked for, at the least."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Progress:
    """How far a round is. Images to attack, answers to get (at most), calls made in this run, seconds to go."""

    attacked: int
    to_attack: int
    answered: int
    to_answer: int
    calls: int
    seconds_left: float | None


class Display(Protocol):
    """Who is told what happens."""

    def progress(self, progress: Progress, running: tuple[Call, ...]) -> None:
        """Something began or ended."""

    def ended(self, call: Call, outcome: Outcome, progress: Progress) -> None:
        """A call ended and is recorded."""

    def failed(self, call: Call, error: Exception, again: bool) -> None:
        """Our own side failed at a call, which will be tried again or not."""


def known_attack_calls(round_: Round, store: Store) -> dict[str, list[ImageAudit]]:
    """What is known of the round's attack calls: key -> audits, where every image that was made is still there."""
    present = store.object_digests()
    audits = {key: store.index.audits(key) for key in store.index.known_calls(round_.unit_keys())}
    return {key: found for key, found in audits.items() if found and all(one.digest in present for one in found)}


class Runner:
    """One run of one round; the store must be held for writing meanwhile.

    attacks, defenses: in the order of the round. all_versions: see `plan.DefenseQueue`.
    """

    def __init__(
        self,
        round_: Round,
        attacks: list[Player],
        defenses: list[Player],
        store: Store,
        sandbox: Sandbox,
        display: Display,
        *,
        all_versions: bool = False,
    ) -> None:
        self._round, self._store, self._sandbox, self._display = round_, store, sandbox, display
        self._players = {player.key: player for player in (*attacks, *defenses)}
        # Two names may stand for one and the same player; it is asked once.
        unique = {player.key: player for player in defenses}.values()
        self._queues = [self._queue(player, all_versions) for player in unique]
        self._ask((image.id, image.clean) for image in round_.images)
        self._attacks = list(self._attack_calls(attacks))
        self._retries: list[tuple[float, Call]] = []
        self._attempts: Counter[str] = Counter()
        self._pace = _Pace()
        self.calls: Counter[str] = Counter()
        """Calls made in this run, by player."""
        self.given_up: list[str] = []
        """Labels of calls that our own side failed at to the last."""

    def play(self, executor: Executor) -> None:
        """Raises: UserError or InfrastructureError when going on is of no use; what is recorded stays."""
        try:
            while self._fill(executor):
                self._display.progress(self._progress(executor), executor.running)
                if ended := executor.wait(self._patience(executor)):
                    self._settle(executor, *ended)
            self._display.progress(self._progress(executor), executor.running)
        finally:
            executor.close()
        if self._attempts:  # a call that our own side failed at may have left its container
            self._sandbox.sweep()

    # --- what to do next

    def _queue(self, player: Player, all_versions: bool) -> DefenseQueue:
        known = self._store.index.predictions(player.key)
        pictures = len(self._round.images)
        return DefenseQueue(player, known, pictures, self._round.batch_size, all_versions=all_versions)

    def _attack_calls(self, attacks: list[Player]) -> Iterator[Call]:
        """Calls without an outcome; what the others produced is asked of the defenses at once."""
        made = known_attack_calls(self._round, self._store)
        planned: set[str] = set()
        for player, entry in zip(attacks, self._round.attacks, strict=True):
            for budgets, keys in zip(self._round.budgets, entry.units, strict=True):
                for number, batch in enumerate(self._round.batches):
                    key = keys[number]
                    if key in made:
                        self._offer(made[key])
                    elif key not in planned:
                        planned.add(key)
                        yield attack_call(player, budgets[number], number, batch)

    def _offer(self, audits: Iterable[ImageAudit]) -> None:
        self._ask((audit.image, audit.digest) for audit in audits)

    def _ask(self, images: Iterable[tuple[str, str]]) -> None:
        for picture, digest in images:
            for queue in self._queues:
                queue.add(picture, digest)

    def _fill(self, executor: Executor) -> bool:
        """Gives every free slot something to do; False when there is nothing left to do or to wait for."""
        while executor.free_slots:
            call = self._next_call()
            if call is None:
                break
            executor.submit(call)
        return bool(executor.running or self._retries)

    def _patience(self, executor: Executor) -> float:
        """Seconds until there may be something new to do or to show; a retry that is due may wait for a slot."""
        if not executor.free_slots:
            return LOOK_SECONDS
        due = min((due for due, _ in self._retries), default=float("inf"))
        return min(LOOK_SECONDS, max(0.0, due - time.monotonic()))

    def _next_call(self) -> Call | None:
        """A defense whose next call is full and mixed, else an attack, else the defense with the most to label."""
        for retry in self._retries:
            if retry[0] <= time.monotonic():
                self._retries.remove(retry)
                return retry[1]
        queue = max(self._queues, key=len, default=None)
        if queue and queue.is_mixed:
            return queue.take()
        if self._attacks:
            return self._attacks.pop(0)
        return queue.take() if queue else None

    # --- what came of it

    def _settle(self, executor: Executor, call: Call, result: Outcome | Exception) -> None:
        if isinstance(result, Outcome):
            self._store.index.record(call.unit, call.label, result, _now())
            self._offer(result.images)
            self._pace.add(call, result)
            self.calls[call.unit.player] += 1
            self._display.ended(call, result, self._progress(executor))
        elif isinstance(result, OSError) and result.errno in NO_SPACE:
            raise UserError(f"{self._store.path}: cannot be written ({result.strerror}); make room and run again")
        elif isinstance(result, StoreDamagedError):
            others = self._store.remove_damaged()
            rest = f" (and {others} more objects)" if others else ""
            raise StoreDamagedError(f"{self._store.path}: {result}{rest}; run the same command again to make it anew")
        elif isinstance(result, InfrastructureError | OSError):
            self._retry(call, result)
        else:
            raise result

    def _retry(self, call: Call, error: Exception) -> None:
        """Our own failure: noted, tried again after a while, given up after MAX_ATTEMPTS, never scored."""
        key = call.unit.key
        self._store.index.record_attempt(key, call.unit.player, call.label, str(error), _now())
        self._attempts[key] += 1
        again = self._attempts[key] < MAX_ATTEMPTS
        self._display.failed(call, error, again)
        self._wait_for_sandbox()
        if again:
            self._retries.append((time.monotonic() + _back_off(self._attempts[key]), call))
        else:
            self.given_up.append(f"{call.label}: {error}")

    def _wait_for_sandbox(self) -> None:
        """Raises: EngineUnavailableError when it does not answer after MAX_CHECKS."""
        for number in range(1, MAX_CHECKS + 1):
            try:
                self._sandbox.check()
                break
            except EngineUnavailableError:
                if number == MAX_CHECKS:
                    raise
                time.sleep(_back_off(number))

    def _progress(self, executor: Executor) -> Progress:
        """Counts what is left; an image that is still to be made counts once for each defense."""
        waiting = [*self._attacks, *executor.running, *(call for _, call in self._retries)]
        left: Counter[str] = Counter()
        for call in waiting:
            left[call.unit.player] += len(call.images)
        to_make = sum(len(call.images) for call in waiting if call.unit.role is not Role.DEFENSE)
        for queue in self._queues:
            left[queue.player.key] += len(queue) + to_make
        images = len(self._round.images)
        to_attack = images * len(self._round.attacks) * len(self._round.epsilons)
        to_answer = (to_attack + images) * len(self._queues)
        unanswered = sum(left[queue.player.key] for queue in self._queues)
        slots = executor.free_slots + len(executor.running)
        seconds_left = self._pace.estimate(left, self._players, slots)
        calls = self.calls.total()
        return Progress(to_attack - to_make, to_attack, to_answer - unanswered, to_answer, calls, seconds_left)


class _Pace:
    """Seconds for an image, of each player and, for those that were not seen yet, of each role."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._images: Counter[str] = Counter()

    def add(self, call: Call, outcome: Outcome) -> None:
        for name in (call.unit.player, call.unit.role):
            self._seconds[name] = self._seconds.get(name, 0.0) + outcome.seconds
            self._images[name] += len(call.images)

    def estimate(self, left: Counter[str], players: dict[str, Player], slots: int) -> float | None:
        """Seconds until `left` images of each player are done; None while there is nothing to go by."""
        total = 0.0
        for key, images in left.items():
            name = key if self._images[key] else players[key].submission.role
            if images and not self._images[name]:
                return None
            total += images * self._seconds[name] / self._images[name] if images else 0.0
        return total / slots


def _back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return BACK_OFF_SECONDS * float(2 ** (failures - 1))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
