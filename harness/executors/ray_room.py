"""What a call takes, and what a machine of a Ray cluster has room for."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

GIB = float(1 << 30)


@dataclass(frozen=True)
class Report:
    """What a machine says of itself. fault: why it cannot play. answer: an object that it made. gpu_memory in bytes."""

    host: str
    fault: str | None = None
    answer: str = ""
    swept: int = 0
    gpu_memory: int | None = None


@dataclass(frozen=True)
class Needs:
    """What one call takes. memory, gpu_memory: bytes; gpus, others: whether there are calls with, and without a GPU."""

    cpus: int
    memory: int
    gpu_memory: int | None
    gpus: bool
    others: bool

    @property
    def kinds(self) -> list[bool]:
        """Of calls: with a GPU, without one."""
        return [kind for kind, asked in ((True, self.gpus), (False, self.others)) if asked]


class State(StrEnum):
    """Of a machine: asked whether it can play, playing, left out until it is asked again, or set aside for good."""

    ASKED = "asked"
    PLAYING = "playing"
    OUT = "out"
    ASIDE = "aside"


@dataclass
class Member:
    """One machine. resources: as Ray gives them out. asked: the look under way, until `due`; or when the next is due.
    fault: why it is left out.
    """

    id: str
    host: str
    resources: dict[str, float]
    state: State = State.ASKED
    report: Report | None = None
    asked: Any = None
    due: float = 0.0
    failures: int = 0
    fault: str = ""

    @property
    def name(self) -> str:
        return f"{self.host} ({self.id[:8]})"

    def describe(self) -> dict[str, Any]:
        """Cores and GPUs as Ray gives them out; memory in bytes."""
        given = {key: self.resources.get(name, 0) for key, name in (("cores", "CPU"), ("gpus", "GPU"))}
        return {"host": self.host, **given, "memory": self.resources.get("memory", 0)}


def room(member: Member, needs: Needs, gpu_share: float) -> int:
    """How many calls a machine plays side by side."""
    with_gpu = places(member, needs, gpu_share, True)
    if needs.gpus and (with_gpu or not needs.others):
        return with_gpu
    return places(member, needs, gpu_share, False)


def places(member: Member, needs: Needs, gpu_share: float, gpu: bool) -> int:
    """How many calls with, or without a GPU, a machine plays side by side."""
    cpus, memory, gpus = (int(member.resources.get(name, 0)) for name in ("CPU", "memory", "GPU"))
    fits = min(cpus // needs.cpus, memory // needs.memory)
    return min(fits, gpus * int(1 / gpu_share + 1e-9)) if gpu else fits


def unmet(needs: Needs, members: list[Member], gpu: bool) -> str:
    """Why no machine that can play has room for one call with, or without a GPU."""
    cpus, memory = (max(one.resources.get(name, 0.0) for one in members) for name in ("CPU", "memory"))
    if cpus < needs.cpus:
        return f"limits.cpus: {needs.cpus} cores for each call, no machine of the cluster has over {cpus:.0f}; lower it"
    if memory < needs.memory:
        largest, asked = f"{memory / GIB:.1f} GiB", f"{needs.memory / GIB:.1f} GiB"
        return f"limits.memory: {asked} for each call, no machine of the cluster has over {largest}; lower it"
    if gpu and not any(one.resources.get("GPU") for one in members):
        return "there are calls with a GPU, and no machine that can play has one; mend one, or set gpu: false"
    return "no machine of the cluster has the cores, the memory and the GPU of one call together; lower the limits"


def may_play(node: dict[str, Any], engines: bool) -> bool:
    """A machine without cores has none for calls: often the one where Ray is at home."""
    return node["Resources"].get("CPU", 0) > 0 and (not engines or "docker" in node["Resources"])


def too_small(report: Report, member: Member, needs: Needs) -> str:
    if not needs.gpus or not needs.gpu_memory or not report.gpu_memory or not member.resources.get("GPU"):
        return ""
    if report.gpu_memory >= needs.gpu_memory:
        return ""
    has, asked = (f"{size / GIB:.1f} GiB" for size in (report.gpu_memory, needs.gpu_memory))
    return f"it has a GPU of {has}, limits.gpu_memory asks for {asked}"
