"""The machines of a Ray cluster as the driver knows them: which may play, how many calls each, and which fail."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

import harness
from harness.errors import EngineUnavailableError, InfrastructureError, UserError
from harness.executors.ray_node import machines
from harness.executors.ray_room import Member, Needs, Report, State, may_play, places, room, too_small, unmet

MOST_FAILURES = 3
"""In a row, while others do not fail: then a machine is set aside."""

LOOK_SECONDS = 5.0
"""How often machines that came or went are looked for."""

AGAIN_SECONDS = 60.0
"""How soon a machine that cannot play is looked at again: an engine may take a while to start."""

GONE_SECONDS = 300.0
"""How long calls wait for a machine that can play them, when there is none left: another one may come."""

ANSWER_SECONDS = 120.0
"""How long a machine may take to answer: Ray starts a process there, which imports the harness."""

SWEEP_SECONDS = 30.0
"""How long machines may take to clear up at the end; what is left then, the next run removes."""

ENGINE_SHARE = 0.001
"""Of the custom resource `docker`: it only says where calls may be played."""


@dataclass
class Nodes:
    """The machines of the cluster that this process is connected to.

    packed: pickled `Orders`. has: whether an object is at its place, where `probe` is.
    """

    needs: Needs
    packed: bytes
    has: Callable[[str], bool]
    probe: str
    say: Callable[[str], None]
    members: dict[str, Member] = field(default_factory=dict)
    swept: int = 0
    engines: bool = False
    """Whether machines with an engine are those that have the custom resource `docker`."""
    _next: float = 0.0
    _met: float = 0.0
    _empty: float | None = None
    """Since when there is no machine for some of the calls."""

    def muster(self, sandbox: str) -> None:
        """Looks at all machines and waits for them.

        Raises: UserError where no machine is left for some of the calls, with every reason.
        """
        self.engines = sandbox == "docker" and any("docker" in one["Resources"] for one in machines())
        self._meet()
        self._hear_all()
        out = [f"the machine {one.name} is left out: {one.fault}" for one in self.members.values() if one.fault]
        if not self.playing:
            raise UserError(out or ["the cluster has no machine to play on; start one with `ray start`"])
        for gpu in self.needs.kinds:
            if not self.fitting(gpu):
                raise UserError([*out, unmet(self.needs, self.playing, gpu)])

    def refresh(self) -> None:
        """Meets machines that are new, misses those that are gone, and hears what was asked; at most now and then.

        Raises: EngineUnavailableError where Ray has not answered for a while.
        """
        self._hear()
        if time.monotonic() >= self._next:
            self._meet()

    def _meet(self) -> None:
        now = time.monotonic()
        self._next = now + LOOK_SECONDS
        try:
            alive = {one["NodeID"]: one for one in machines() if may_play(one, self.engines)}
        except (RayError, OSError) as error:
            if now - self._met < GONE_SECONDS:
                return
            raise EngineUnavailableError(f"Ray does not answer ({error})") from None
        self._met = now
        for gone in self.members.keys() - alive.keys():
            self.say(f"the machine {self.members.pop(gone).name} is gone")
        for id_ in alive.keys() - self.members.keys():
            node = alive[id_]
            self.members[id_] = Member(id_, node["NodeManagerHostname"], node["Resources"])
        for member in self.members.values():
            if member.asked is None and member.state in (State.ASKED, State.OUT) and now >= member.due:
                self._ask(member)

    def _ask(self, member: Member) -> None:
        member.asked, member.due = self._look(member), time.monotonic() + ANSWER_SECONDS

    def _look(self, member: Member) -> Any:
        """At one machine, whatever is under way there."""
        here = {"ray.io/node-id": f"in({member.id})"}
        task = _looker().options(num_cpus=0, max_retries=0, label_selector=here)
        return task.remote(harness.__version__, self.packed)

    def _hear(self) -> None:
        for member in [one for one in self.members.values() if one.asked is not None]:
            report = _heard(member)
            if report is not None:
                member.asked, member.report = None, report
                self._judge(member, report)

    def _judge(self, member: Member, report: Report) -> None:
        """It plays, or is left out and asked again later; what was said already is not said again."""
        self.swept += report.swept
        before, member.fault = member.fault, self._fault(member, report)
        member.state = State.OUT if member.fault else State.PLAYING
        member.due = time.monotonic() + AGAIN_SECONDS
        if member.fault and member.fault != before:
            self.say(f"the machine {member.name} is left out: {member.fault}")
        elif before and not member.fault:
            self.say(f"the machine {member.name} can play now")

    def _fault(self, member: Member, report: Report) -> str:
        try:
            return report.fault or self._silent(report) or too_small(report, member, self.needs)
        except (InfrastructureError, OSError) as error:
            return f"whether it reaches the objects cannot be told ({error})"

    def _silent(self, report: Report) -> str:
        return "" if self.has(report.answer) else "what it wrote to the objects did not come to be there"

    def sweep(self) -> int:
        """Has all machines remove what died there; how many things were found is returned."""
        asked = [self._look(member) for member in self.playing]
        answered = ray.wait(asked, num_returns=len(asked), timeout=SWEEP_SECONDS)[0] if asked else []
        return sum(report.swept for report in map(_report, answered) if isinstance(report, Report))

    def _hear_all(self) -> None:
        while waiting := [one.asked for one in self.members.values() if one.asked is not None]:
            ray.wait(waiting, num_returns=len(waiting), timeout=1.0)
            self._hear()

    # --- who may play

    @property
    def playing(self) -> list[Member]:
        return [one for one in self.members.values() if one.state is State.PLAYING]

    @property
    def slots(self) -> int:
        """Calls that find room side by side."""
        return sum(room(member, self.needs, self.gpu_share) for member in self.playing)

    @property
    def gpu_share(self) -> float:
        """Of a GPU, for each call: by the smallest: Ray knows nothing of their memory. It counts ten thousandths."""
        sizes = [one.report.gpu_memory for one in self.playing if one.report and one.report.gpu_memory]
        if self.needs.gpu_memory is None or not sizes:
            return 1.0
        return min(1.0, -(-self.needs.gpu_memory * 10_000 // min(sizes)) / 10_000)

    def fitting(self, gpu: bool) -> set[str]:
        """Machines that can play calls with, or without a GPU."""
        share = self.gpu_share
        return {one.id for one in self.playing if places(one, self.needs, share, gpu)}

    def free_slots(self, most: int | None, running: Sequence[bool]) -> int:
        """How many calls may be sent besides those that are, each of which has a GPU or not.

        Those that wait for a GPU keep nobody from playing those without, as long as they are not too many.
        """
        slots = self.slots if most is None else min(most, self.slots)
        share, gpus = self.gpu_share, sum(running)
        playing = min(gpus, sum(places(one, self.needs, share, True) for one in self.playing))
        return max(0, slots - (len(running) - gpus) - playing) if gpus - playing < slots else 0

    def check_room(self, kinds: Iterable[bool]) -> None:
        """Raises: EngineUnavailableError where such calls have waited too long for a machine that can play them."""
        missing = [gpu for gpu in kinds if not self.fitting(gpu)]
        now = time.monotonic()
        if not missing:
            self._empty = None
        elif self._empty is None:
            self._empty = now
            self.say(f"{_nobody(missing)}; waiting {GONE_SECONDS / 60:.0f} minutes for one")
        elif now - self._empty >= GONE_SECONDS:
            raise EngineUnavailableError(f"{_nobody(missing)}; `ray start` brings one, and the same command goes on")

    def excluded(self, avoided: Iterable[str], gpu: bool) -> set[str]:
        """Where a call must not go; `avoided` are machines that others are better than, where there are others."""
        out = {one.id for one in self.members.values() if one.state is not State.PLAYING}
        fitting = self.fitting(gpu)
        bad = fitting & set(avoided)
        return out | (bad if bad != fitting else set())

    def succeeded(self, id_: str) -> None:
        if id_ in self.members:
            self.members[id_].failures = 0

    def failed(self, id_: str, error: Exception) -> None:
        """A machine is only to blame for what does not happen to all of them. One that fails fails fast, and would get
        call after call while others are at work."""
        member = self.members.get(id_)
        if member is None or member.state is not State.PLAYING:
            return
        member.failures += 1
        if member.failures >= MOST_FAILURES and self._others_do_well(member) and self._objects_answer():
            member.state = State.ASIDE
            self.say(f"the machine {member.name} is set aside after {member.failures} failures in a row ({error})")

    def _others_do_well(self, member: Member) -> bool:
        """Whether there is another one for each kind of call that it plays."""
        well = {one.id for one in self.playing if one is not member and not one.failures}
        fitting = [self.fitting(gpu) for gpu in self.needs.kinds]
        return all(ids & well for ids in fitting if member.id in ids)

    def _objects_answer(self) -> bool:
        try:
            return self.has(self.probe)
        except (InfrastructureError, OSError):
            return False


def _nobody(kinds: list[bool]) -> str:
    which = "" if False in kinds else " that has a GPU"
    return f"no machine of the cluster is left to play on{which}"


def _heard(member: Member) -> Report | None:
    """What a machine said; None while it may still say something."""
    if not ray.wait([member.asked], timeout=0)[0]:
        late = time.monotonic() > member.due
        return Report(member.host, f"it did not answer in {ANSWER_SECONDS:.0f} s") if late else None
    said = _report(member.asked)
    return said if isinstance(said, Report) else Report(member.host, said)


def _report(asked: Any) -> Report | str:
    """A report, or why there is none."""
    try:
        said = ray.get(asked)
    except RayError as error:
        return f"it cannot be looked at ({first_line(error)})"
    return said if isinstance(said, Report) else str(said)


def first_line(error: Exception) -> str:
    """Ray's messages come with the traceback of the other machine; what happened is said last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if isinstance(error, ray.exceptions.RayTaskError) and lines else next(iter(lines), "")
    return f"{type(error).__name__}: {last}"


def _looker() -> Any:
    """The task that looks at a machine. Ray sends functions that stand in a function by value, so it runs, and can say
    so, where there is no harness, or another one."""

    def look(version: str, packed: bytes) -> object:
        try:
            import harness
        except ImportError:
            return f"the harness is not installed there; install adversarial-harness[ray] {version}"
        if harness.__version__ != version:
            return f"it has the harness {harness.__version__}, the driver has {version}; install the same there"
        from harness.executors import ray_node

        return ray_node.look(packed)

    return ray.remote(look)
