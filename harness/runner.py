"""Plays a round: attacks first, defenses as soon as there is something to label, until all is known."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import numpy as np

from harness.errors import (
    NO_SPACE,
    EngineUnavailableError,
    InfrastructureError,
    ObjectMissingError,
    StoreDamagedError,
    UserError,
)
from harness.executors import Executor
from harness.known import make_agenda
from harness.order import Order
from harness.pace import Pace
from harness.plan import Player, attack_call, defense_call
from harness.records import Call, Outcome, Role, Verdict
from harness.round import Round
from harness.schedule import AttackTask, DefenseTask, Task
from harness.store import Store

MAX_ATTEMPTS = 4
"""How often a call is tried whose failure is ours. The last time is when nothing else is left to do: machines that it
met may have been set aside by then."""

BACK_OFF_SECONDS = 1.0
"""Before the first time that something is tried again; twice as long before each further one."""

MAX_CHECKS = 5
"""How often an executor is asked whether it answers again: long enough for an engine that is started anew."""

LOOK_SECONDS = 1.0
"""How often the display is told how far it is, and a signal or a due retry is looked for, at the least."""

RECENT_CALLS = 50_000
"""Calls of earlier runs that say what calls cost; older ones say little of today's machines."""


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


class Runner:
    """One run of one round; the store must be held for writing meanwhile.

    attacks, defenses: in the order of the round. all_versions: see `schedule.Agenda`.
    """

    def __init__(
        self,
        round_: Round,
        attacks: list[Player],
        defenses: list[Player],
        store: Store,
        display: Display,
        *,
        all_versions: bool = False,
    ) -> None:
        self._round, self._store, self._display = round_, store, display
        # Two names may stand for one and the same player; it is asked once.
        self._attacks, self._defenses = attacks, list({player.key: player for player in defenses}.values())
        self._agenda = make_agenda(round_, store, attacks, self._defenses, all_versions=all_versions)
        self._tasks: dict[str, Task] = {}
        self._slots = 1
        self._retries: list[tuple[float, Call]] = []
        self._last: list[Call] = []
        """What is tried a last time when all else is done."""
        self._attempts: Counter[str] = Counter()
        self._pace = Pace(store.index.calls((player.key for player in (*attacks, *defenses)), most=RECENT_CALLS))
        self._order = Order(self._pace, attacks, min(round_.batch_size, len(round_.images)))
        self._all_versions = all_versions
        self._forecast: tuple[float, float | None] = (-math.inf, None)
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
            executor.sweep()

    # --- what to do next

    def _fill(self, executor: Executor) -> bool:
        """Gives every free slot something to do; False when there is nothing left to do or to wait for."""
        self._slots = max(1, executor.free_slots + len(executor.running))
        while executor.free_slots:
            call = self._next_call()
            if call is None:
                break
            executor.submit(call)
        if executor.running or self._retries or not self._agenda.is_empty():  # there may be no slot just now
            return True
        self._retries, self._last = [(time.monotonic(), call) for call in self._last], []
        return bool(self._retries)

    def _patience(self, executor: Executor) -> float:
        """Seconds until there may be something new to do or to show; a retry that is due may wait for a slot."""
        if not executor.free_slots:
            return LOOK_SECONDS
        due = min((due for due, _ in self._retries), default=float("inf"))
        return min(LOOK_SECONDS, max(0.0, due - time.monotonic()))

    def _next_call(self) -> Call | None:
        """A call that is due again, else what the agenda says."""
        for retry in self._retries:
            if retry[0] <= time.monotonic():
                self._retries.remove(retry)
                return retry[1]
        task = self._agenda.take(self._most_urgent)
        if task is None:
            return None
        call = self._attack_call(task) if isinstance(task, AttackTask) else self._defense_call(task)
        self._tasks[call.unit.key] = task
        return call

    def _attack_call(self, task: AttackTask) -> Call:
        batch = self._round.images[task.pictures.start : task.pictures.stop]
        budget = self._round.budgets[task.epsilon][task.batch]
        return attack_call(self._attacks[task.attack], budget, task.batch, batch)

    def _defense_call(self, task: DefenseTask) -> Call:
        digests = self._store.index.digests(task.asked)
        return defense_call(self._defenses[task.defense], digests, self._round.batch_size)

    def _most_urgent(self, attacks: Sequence[int]) -> int:
        seconds = self._seconds_left()
        return self._order.choose(attacks, math.inf if seconds is None else seconds)

    # --- what came of it

    def _settle(self, executor: Executor, call: Call, result: Outcome | Exception) -> None:
        if isinstance(result, Outcome) and self._was_too_large(call, result):
            self._split(call, result)
        elif isinstance(result, Outcome):
            self._record(call, result)
            self._display.ended(call, result, self._progress(executor))
        elif isinstance(result, OSError) and result.errno in NO_SPACE:
            raise UserError(f"{self._store.path}: cannot be written ({result.strerror}); make room and run again")
        elif isinstance(result, StoreDamagedError):
            others = 0 if isinstance(result, ObjectMissingError) else self._store.objects.remove_damaged()
            rest = f" (and {others} more objects)" if others else ""
            raise StoreDamagedError(f"{self._store.path}: {result}{rest}; run the same command again to make it anew")
        elif isinstance(result, InfrastructureError | OSError):
            self._retry(executor, call, result)
        else:
            raise result

    def _record(self, call: Call, outcome: Outcome) -> None:
        made = self._store.index.record(call.unit, call.label, outcome, _now())
        task = self._tasks.pop(call.unit.key)
        self._agenda.settle(task)
        self._pace.add(call, outcome)
        if isinstance(task, AttackTask):
            self._agenda.offer(np.asarray(task.pictures), made)
            self._order.learned(task.attack)
        else:
            self._agenda.batches[task.defense] = self._batches(call.unit.player)
        self.calls[call.unit.player] += 1

    def _batches(self, defense: str) -> int:
        """How many batches its calls hold from now on."""
        left = int(self._agenda.to_answer.sum()) + int(self._agenda.to_make.sum()) * len(self._defenses)
        return self._pace.batches(defense, self._round.batch_size, left / self._slots)

    def _was_too_large(self, call: Call, outcome: Outcome) -> bool:
        """Whether a defense failed at more than the batch that it was promised, to save its start-up."""
        large = len(call.images) > self._round.batch_size and not self._all_versions
        return large and call.unit.role is Role.DEFENSE and outcome.verdict is not Verdict.OK

    def _split(self, call: Call, outcome: Outcome) -> None:
        """The large call was our idea: it is never scored, and what was in it is asked again in batches."""
        task, size = self._tasks.pop(call.unit.key), self._round.batch_size
        self._pace.add(call, outcome)
        self.calls[call.unit.player] += 1
        if isinstance(task, DefenseTask):
            self._agenda.batches[task.defense] = self._batches(call.unit.player)
            for start in range(0, task.images, size):
                part = DefenseTask(task.defense, task.asked[start : start + size])
                again = self._defense_call(part)
                self._tasks[again.unit.key] = part
                self._retries.append((time.monotonic(), again))
        error = InfrastructureError(f"{outcome.verdict} with more than a batch at once; it is asked again in batches")
        self._store.index.record_attempt(call.unit.key, call.unit.player, call.label, str(error), _now())
        self._display.failed(call, error, True)

    def _retry(self, executor: Executor, call: Call, error: Exception) -> None:
        """Our own failure: noted, tried again after a while, given up after MAX_ATTEMPTS, never scored."""
        key = call.unit.key
        self._store.index.record_attempt(key, call.unit.player, call.label, str(error), _now())
        self._attempts[key] += 1
        left = MAX_ATTEMPTS - self._attempts[key]
        self._display.failed(call, error, left > 0)
        _wait_until_it_answers(executor)
        if left > 1:
            self._retries.append((time.monotonic() + _back_off(self._attempts[key]), call))
        elif left:
            self._last.append(call)
        else:
            self._agenda.settle(self._tasks.pop(key))
            self.given_up.append(f"{call.label}: {error}")

    def _progress(self, executor: Executor) -> Progress:
        """Counts what is left; an image that is still to be made counts once for each defense."""
        images, agenda = len(self._round.images), self._agenda
        to_make = int(agenda.to_make.sum())
        unanswered = int(agenda.to_answer.sum()) + to_make * len(self._defenses)
        to_attack = images * len(self._round.attacks) * len(self._round.epsilons)
        to_answer = (to_attack + images) * len(self._defenses)
        seconds_left = self._seconds_left() if to_make or unanswered else 0.0
        calls = self.calls.total()
        return Progress(to_attack - to_make, to_attack, to_answer - unanswered, to_answer, calls, seconds_left)

    def _seconds_left(self) -> float | None:
        """Reckoned anew when there is time to look at it: with thousands of calls a second nobody reads all."""
        when, seconds = self._forecast
        if time.monotonic() - when >= LOOK_SECONDS:
            seconds = self._pace.remaining(self._left(), self._slots)
            self._forecast = time.monotonic(), seconds
        return seconds

    def _left(self) -> Iterator[tuple[str, Role, int, int]]:
        """(player, role, images, calls that they are spread over) of everybody who has something to do."""
        size, agenda = self._round.batch_size, self._agenda
        to_make = int(agenda.to_make.sum())
        for player, images in zip(self._attacks, agenda.to_make.tolist(), strict=True):
            yield player.key, player.submission.role, images, -(-images // size)
        for player, known, batches in zip(
            self._defenses, agenda.to_answer.tolist(), agenda.batches.tolist(), strict=True
        ):
            yield player.key, Role.DEFENSE, known + to_make, -(-(known + to_make) // (size * batches))


def _wait_until_it_answers(executor: Executor) -> None:
    """Raises: EngineUnavailableError when it does not after MAX_CHECKS."""
    for number in range(1, MAX_CHECKS + 1):
        try:
            executor.check()
            break
        except EngineUnavailableError:
            if number == MAX_CHECKS:
                raise
            time.sleep(_back_off(number))


def _back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return BACK_OFF_SECONDS * float(2 ** (failures - 1))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
