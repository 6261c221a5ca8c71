"""The machines of a Ray cluster as the driver knows them: which may play, how many calls each, and which fail."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import ray
from ray.exceptions import RayError

import harness
from harness.errors import EngineUnavailableError, InfrastructureError, UserError
from harness.executors.ray_node import Report, machines

MOST_FAILURES = 3
"""In a row, while others do not fail: then a machine is set aside."""

LOOK_SECONDS = 5.0
"""How often machines that came or went are looked for."""

ANSWER_SECONDS = 120.0
"""How long a machine may take to answer: Ray starts a process there, which imports the harness."""

SWEEP_SECONDS = 30.0
"""How long machines may take to clear up at the end; what is left then, the next run removes."""

ENGINE_SHARE = 0.001
"""Of the custom resource `docker`: it only says where calls may be played."""

GIB = float(1 << 30)


@dataclass(frozen=True)
class Needs:
    """What one call takes. memory, gpu_memory: bytes; gpus, others: whether there are calls with, and without a GPU."""

    cpus: int
    memory: int
    gpu_memory: int | None
    gpus: bool
    others: bool


class State(StrEnum):
    """Of a machine: asked whether it can play, playing, or left out."""

    ASKED = "asked"
    PLAYING = "playing"
    OUT = "out"


@dataclass
class Member:
    """One machine. resources: as Ray gives them out. asked: the look under way, until `due`."""

    id: str
    host: str
    resources: dict[str, float]
    state: State = State.ASKED
    report: Report | None = None
    asked: Any = None
    due: float = 0.0
    failures: int = 0

    @property
    def name(self) -> str:
        return f"{self.host} ({self.id[:8]})"

    def describe(self) -> dict[str, Any]:
        """Cores and GPUs as Ray gives them out; memory in bytes."""
        given = {key: self.resources.get(name, 0) for key, name in (("cores", "CPU"), ("gpus", "GPU"))}
        return {"host": self.host, **given, "memory": self.resources.get("memory", 0)}


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
    left_out: list[str] = field(default_factory=list)
    swept: int = 0
    engines: bool = False
    """Whether machines with an engine are those that have the custom resource `docker`."""
    _next: float = 0.0

    def muster(self, sandbox: str) -> None:
        """Looks at all machines and waits for them. Raises: UserError where none is left, with every reason."""
        self.engines = sandbox == "docker" and any("docker" in one["Resources"] for one in machines())
        self._meet()
        self._hear_all()
        if not self.playing:
            raise UserError(self.left_out or ["the cluster has no machine to play on; start one with `ray start`"])
        if not self.slots:
            raise UserError(unmet(self.needs, self.playing))

    def refresh(self) -> None:
        """Meets machines that are new, misses those that are gone, and hears what was asked; at most now and then."""
        self._hear()
        if time.monotonic() >= self._next:
            self._meet()

    def _meet(self) -> None:
        self._next = time.monotonic() + LOOK_SECONDS
        try:
            alive = {one["NodeID"]: one for one in machines() if _may_play(one, self.engines)}
        except (RayError, OSError) as error:
            raise EngineUnavailableError(f"Ray does not answer ({error})") from None
        for gone in self.members.keys() - alive.keys():
            self.say(f"the machine {self.members.pop(gone).name} is gone")
        for id_ in alive.keys() - self.members.keys():
            node = alive[id_]
            self.members[id_] = member = Member(id_, node["NodeManagerHostname"], node["Resources"])
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
        self.swept += report.swept
        fault = report.fault or self._silent(report) or _too_small(report, member, self.needs)
        member.state = State.OUT if fault else State.PLAYING
        if fault:
            self.left_out.append(f"the machine {member.name} is left out: {fault}")
            self.say(self.left_out[-1])

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

    def excluded(self, avoided: Iterable[str]) -> list[str]:
        """Where a call must not go; `avoided` are machines that others are better than, where there are others."""
        out = [one.id for one in self.members.values() if one.state is not State.PLAYING]
        playing = {one.id for one in self.playing}
        bad = playing & set(avoided)
        return sorted([*out, *(bad if bad != playing else ())])

    def succeeded(self, id_: str) -> None:
        if id_ in self.members:
            self.members[id_].failures = 0

    def failed(self, id_: str, error: Exception) -> None:
        """A machine is only to blame for what does not happen to all of them. One that fails fails fast, and would get
        call after call while others are at work."""
        member = self.members.get(id_)
        if member is None or member.state is State.OUT:
            return
        member.failures += 1
        others = any(one is not member and not one.failures for one in self.playing)
        if member.failures >= MOST_FAILURES and others and self._objects_answer():
            member.state = State.OUT
            self.say(f"the machine {member.name} is set aside after {member.failures} failures in a row ({error})")

    def _objects_answer(self) -> bool:
        try:
            return self.has(self.probe)
        except (InfrastructureError, OSError):
            return False


def room(member: Member, needs: Needs, gpu_share: float) -> int:
    """How many calls a machine plays side by side."""
    cpus, memory, gpus = (int(member.resources.get(name, 0)) for name in ("CPU", "memory", "GPU"))
    fits = min(cpus // needs.cpus, memory // needs.memory)
    by_gpu = gpus * int(1 / gpu_share + 1e-9)
    if needs.gpus and (by_gpu or not needs.others):
        return min(fits, by_gpu)
    return fits


def unmet(needs: Needs, members: list[Member]) -> str:
    """Why no machine of the cluster has room for one call."""
    cpus, memory = (max(one.resources.get(name, 0.0) for one in members) for name in ("CPU", "memory"))
    if cpus < needs.cpus:
        return f"limits.cpus: {needs.cpus} cores for each call, no machine of the cluster has over {cpus:.0f}; lower it"
    if memory < needs.memory:
        largest, asked = f"{memory / GIB:.1f} GiB", f"{needs.memory / GIB:.1f} GiB"
        return f"limits.memory: {asked} for each call, no machine of the cluster has over {largest}; lower it"
    return "no machine of the cluster has the cores, the memory and the GPU of one call together; lower the limits"


def _may_play(node: dict[str, Any], engines: bool) -> bool:
    """A machine without cores has none for calls: often the one where Ray is at home."""
    return node["Resources"].get("CPU", 0) > 0 and (not engines or "docker" in node["Resources"])


def _too_small(report: Report, member: Member, needs: Needs) -> str:
    if not needs.gpus or not needs.gpu_memory or not report.gpu_memory or not member.resources.get("GPU"):
        return ""
    if report.gpu_memory >= needs.gpu_memory:
        return ""
    has, asked = (f"{size / GIB:.1f} GiB" for size in (report.gpu_memory, needs.gpu_memory))
    return f"it has a GPU of {has}, limits.gpu_memory asks for {asked}"


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
