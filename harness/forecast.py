"""What a tournament would take on a cluster, what it would cost and what holds it up, before anything is paid for."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.line import Line
from harness.order import urgency
from harness.pace import Estimate, Pace
from harness.plan import Player
from harness.records import Limits
from harness.round import Round
from harness.simulation import AttackWork, DefenseWork, Room, Timeline, simulate

IDLE = 0.75
"""Where slots are busy less than this share of the time, it is not their number that holds things up."""


@dataclass(frozen=True)
class Todo:
    """What is left of a round, each player once. attacks: (player, images of each of its calls); defenses: (player, how
    many of the images that are there already it has not labelled). pictures, batch_size: of the round.
    """

    attacks: tuple[tuple[Player, tuple[int, ...]], ...]
    defenses: tuple[tuple[Player, int], ...]
    pictures: int
    batch_size: int

    @property
    def unlabelled(self) -> int:
        """Of the images that are there, as many as the defense has not labelled that has labelled fewest."""
        return max((images for _, images in self.defenses), default=0)


def todo_of(
    round_: Round, attacks: Sequence[Player], defenses: Sequence[Player], made: Container[str], left: Mapping[str, int]
) -> Todo:
    """made: keys of the attack calls that are known; left: by key of a defense, images that it has not labelled."""
    calls: dict[str, tuple[Player, dict[str, int]]] = {}
    for player, entry in zip(attacks, round_.attacks, strict=True):
        own = calls.setdefault(player.key, (player, {}))[1]
        for keys in entry.units:
            own |= {key: len(batch) for key, batch in zip(keys, round_.batches, strict=True) if key not in made}
    asked = {player.key: (player, left[player.key]) for player in defenses}
    return Todo(
        tuple((player, tuple(own.values())) for player, own in calls.values()),
        tuple(asked.values()),
        len(round_.images),
        round_.batch_size,
    )


@dataclass(frozen=True)
class Forecast:
    """What is expected. low, likely, high: seconds; likely is None where nothing is known of somebody but a limit.

    room: how many calls run side by side. guessed: names of who is taken for the median of others of the same role;
    unknown: of those for whom there is nothing to go by. holding_up: what holds it up, in words. timeline: of the
    likely course, or of the longest where there is none.
    """

    low: float
    likely: float | None
    high: float
    room: Room
    guessed: tuple[str, ...]
    unknown: tuple[str, ...]
    holding_up: str
    timeline: Timeline = field(repr=False)


def forecast(todo: Todo, pace: Pace, room: Room, limits: Limits, with_gpu: Mapping[str, bool]) -> Forecast:
    """Plays what is left on a reckoned clock, thrice: as quick, as likely and as slow as calls were.

    with_gpu: by key, whether the player's calls take a GPU of the cluster.
    """
    scene = _Scene(todo, pace, limits, with_gpu)
    estimates = scene.estimates
    unknown = [name for name, one in estimates if one.likely is None]
    low, high = (simulate(*scene.works(course, room.slots), todo.unlabelled, room) for course in ("low", "high"))
    likely = None if unknown else simulate(*scene.works("likely", room.slots), todo.unlabelled, room)
    course = "high" if likely is None else "likely"
    return Forecast(
        min(low.seconds, likely.seconds) if likely else low.seconds,
        likely.seconds if likely else None,
        max(high.seconds, likely.seconds) if likely else high.seconds,
        room,
        tuple(name for name, one in estimates if not one.measured and one.likely is not None),
        tuple(unknown),
        scene.holding_up(course, likely or high, room),
        likely or high,
    )


class _Scene:
    """A round's players, with what each of them takes."""

    def __init__(self, todo: Todo, pace: Pace, limits: Limits, with_gpu: Mapping[str, bool]) -> None:
        self.todo, self.pace, self.limits, self.with_gpu = todo, pace, limits, with_gpu
        self._full = min(todo.batch_size, todo.pictures)
        self._estimates = {player.key: self._estimate(player) for player in self._players()}

    @property
    def estimates(self) -> list[tuple[str, Estimate]]:
        """(name, seconds of a full call) of everybody who has something to do."""
        return [(player.name, self._estimates[player.key]) for player in self._players()]

    def _players(self) -> Iterable[Player]:
        yield from (player for player, calls in self.todo.attacks if calls)
        to_make = any(calls for _, calls in self.todo.attacks)
        yield from (player for player, images in self.todo.defenses if to_make or images)

    def _estimate(self, player: Player) -> Estimate:
        return self.pace.estimate(player.key, player.submission.role, self._full, self.limits.seconds)

    def line(self, player: Player, course: str) -> Line:
        """Seconds of a call in the quick (`low`), the `likely` or the slow (`high`) course."""
        if player.key not in self._estimates:
            return Line(0.0, 0.0)  # it has nothing to do
        line = self.pace.line(player.key, player.submission.role)
        seconds: float = getattr(self._estimates[player.key], course)
        if line is None or not line.at(self._full):
            return Line(0.0, seconds / self._full)
        share = seconds / line.at(self._full)
        return Line(share * line.fixed, share * line.each)

    def works(self, course: str, slots: int) -> tuple[list[AttackWork], list[DefenseWork]]:
        """What the simulation plays, attacks in the order in which the runner would call them."""
        attacks = [
            AttackWork(line.at(images), images, calls.count(images), self.with_gpu[player.key], line.fixed)
            for player, calls in self.todo.attacks
            for line in [self.line(player, course)]
            for images in sorted(set(calls), reverse=True)
        ]
        defenses = [
            DefenseWork(
                self.line(player, course), self._size(player), self.todo.unlabelled - images, self.with_gpu[player.key]
            )
            for player, images in self.todo.defenses
        ]
        rest = sum(seconds for seconds, _ in self._sums(course)) / slots
        return sorted(attacks, key=lambda work: urgency(work.seconds, work.images, rest)), defenses

    def _size(self, player: Player) -> int:
        batches = self.pace.batches(player.key, self.todo.batch_size, eventually=True)
        return min(self.todo.pictures, batches * self.todo.batch_size)

    def holding_up(self, course: str, timeline: Timeline, room: Room) -> str:
        """Slots, GPUs, one long call or starting, whichever the time goes to."""
        if not timeline.calls:
            return "nothing: there is nothing left to call"
        by_gpus = timeline.busy_gpus / room.gpus if room.gpus else 0.0
        by_slots = timeline.busy / room.slots
        name, share = self._largest(course, timeline)
        most = f"; {_percent(share)} of the work is {name}"
        if timeline.start_up > timeline.busy / 2:
            return f"starting: {_percent(timeline.start_up / timeline.busy)} of the time of all calls is start-up{most}"
        if max(by_gpus, by_slots) < IDLE * timeline.seconds:
            return self._long_call(course, timeline, room)
        if by_gpus >= by_slots:
            return f"{self._gpu_words()}, busy {_percent(by_gpus / timeline.seconds)} of the time{most}"
        return f"slots, busy {_percent(by_slots / timeline.seconds)} of the time{most}"

    def _gpu_words(self) -> str:
        memory = self.limits.gpu_memory
        return "GPUs" if memory is None else f"GPU memory (limits.gpu_memory is {memory >> 20} MiB)"

    def _long_call(self, course: str, timeline: Timeline, room: Room) -> str:
        """Too few calls for so many slots: the longest ones are what everybody waits for."""
        todo = self.todo
        longest = [(self.line(player, course).at(max(calls)), player.name) for player, calls in todo.attacks if calls]
        longest += [(self.line(player, course).at(self._size(player)), player.name) for player, _ in todo.defenses]
        seconds, name = max(longest)
        busy = timeline.busy / room.slots / timeline.seconds
        return f"one slow player: a single call of {name} takes {spell(seconds)}, and slots are busy {_percent(busy)}"

    def _largest(self, course: str, timeline: Timeline) -> tuple[str, float]:
        """Whose calls take most of the time, and its share."""
        most, name = max(self._sums(course))
        return name, most / timeline.busy if timeline.busy else 0.0

    def _sums(self, course: str) -> Iterable[tuple[float, str]]:
        """(seconds of all its calls, name) of every player."""
        todo = self.todo
        to_make = 0
        for player, calls in todo.attacks:
            yield sum(map(self.line(player, course).at, calls)), player.name
            to_make += sum(calls)
        for player, images in todo.defenses:
            line, left = self.line(player, course), images + to_make
            yield line.fixed * math.ceil(left / self._size(player)) + line.each * left, player.name


def spell(seconds: float) -> str:
    """8 s, 3 min 20 s, 5 h 20 min, 3 d 4 h."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    if seconds < 6000:
        return f"{round(seconds) // 60} min {round(seconds) % 60} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def _percent(share: float) -> str:
    return f"{100 * min(share, 1.0):.0f} %"
