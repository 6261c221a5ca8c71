"""Where a submission runs. A backend is a module with a class `Backend`; this literal table names them all."""

import importlib
import json
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.errors import InfrastructureError, UserError
from harness.records import Limits, Role, Verdict
from harness.submission import Submission

BACKENDS = {"docker": "harness.sandbox.docker", "process": "harness.sandbox.process"}

RESULT_FILE = "result.csv"
"""What a defense is asked to write in its output folder."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)

OPEN_FILES = 8192
"""How many files one process may have open; a plain Linux login has 1024."""


class CallStoppedError(InfrastructureError):
    """The harness itself is being stopped; the call is given up and will be made again."""


@dataclass(frozen=True)
class Job:
    """One call, ready to start: the folders are staged and belong to this call alone.

    token: a random name that everything started for this call carries. runtime: what `prepare` returned.
    seconds: the wall-time limit of this very call. cores: the cores of the slot. gpu: its GPU, if any.
    """

    token: str
    role: Role
    runtime: str
    entry_point: str
    code: Path
    inputs: Path
    output: Path
    epsilon: int | None
    seed: int
    limits: Limits
    seconds: float
    cores: tuple[int, ...]
    gpu: str | None = None

    @property
    def largest_file(self) -> int:
        """Bytes at which the kernel cuts a file: some more than the quota, so that the quota is what ends the call."""
        return self.limits.output + (1 << 20)

    def arguments(self, inputs: str, output: str) -> list[str]:
        """The command line of the contract, with the folders as the submission sees them."""
        if self.role is Role.DEFENSE:
            return [f"./{self.entry_point}", inputs, f"{output}/{RESULT_FILE}"]
        return [f"./{self.entry_point}", inputs, output, str(self.epsilon)]

    def environment(self) -> dict[str, str]:
        """The variables that every submission gets, and the only ones that come from us."""
        threads = {name: str(len(self.cores)) for name in THREAD_VARIABLES}
        return threads | {"HARNESS_SEED": str(self.seed), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Ending:
    """How a process ended, before anybody looked at its output. seconds: wall; peak_memory: bytes, 0 if unknown."""

    verdict: Verdict
    exit_code: int | None
    seconds: float
    peak_memory: int
    log: str


class Sandbox(Protocol):
    """What every backend offers; `tests/contract` holds all of them to it."""

    name: str
    isolates: bool
    """Whether a hostile submission is kept from the host and from what is staged for it."""

    def prepare(self, submission: Submission, use_gpu: bool) -> str:
        """Builds or fetches what the submission runs in, off the clock; its digest is returned.

        Raises: UserError where the submission or the organiser's image cannot be had.
        """

    def names(self, runtime: str) -> tuple[str, ...]:
        """Names, each with a digest, under which a registry may have what `prepare` returned."""

    def pack(self, runtime: str, archive: Path) -> None:
        """Writes what `prepare` returned into a file, for the `provide` of another machine."""

    def provide(self, runtime: str, names: Sequence[str], archive: Path | None) -> bool:
        """Has here what `prepare` returned on another machine: as it is, from a registry, or from an archive.

        False where it is not to be had so, and what is here instead is something else.
        """

    def run(self, job: Job, stop: threading.Event) -> Ending:
        """Runs one call to its end or its limit and leaves nothing behind.

        Raises: InfrastructureError when our own side failed, CallStoppedError when `stop` was set.
        """

    def sweep(self) -> int:
        """Removes what a crashed harness left behind for this store; how many were found is returned."""

    def check(self) -> None:
        """Raises: InfrastructureError when the backend does not answer."""

    def close(self) -> None:
        """Lets go of what the backend holds; nothing is asked of it after that."""


@dataclass(frozen=True)
class Setting:
    """What a backend is told when it is opened.

    images: name -> folder with the Dockerfile that builds it. built: digest of a build's context -> image, of
    earlier builds; what is built is added to it. runtime: the engine's runtime that containers run by, None for its
    default. seccomp: the text of a profile (see `read_profile`) instead of the engine's own.
    """

    store_identity: str
    images: Mapping[str, Path]
    say: Callable[[str], None] = lambda line: None
    built: MutableMapping[str, str] = field(default_factory=dict)
    runtime: str | None = None
    seccomp: str | None = None


def read_profile(path: Path | None) -> str | None:
    """The text of a seccomp profile in the engine's own form, JSON without blanks; None where there is no path.

    Raises: UserError where it is not there or is no such profile.
    """
    if path is None:
        return None
    try:
        profile = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{path}: the seccomp profile cannot be read as JSON ({reason}); mend or replace it") from None
    if not isinstance(profile, dict) or not str(profile.get("defaultAction", "")).startswith("SCMP_ACT_"):
        raise UserError(f"{path}: is no seccomp profile, it has no defaultAction SCMP_ACT_...; start from Docker's own")
    return json.dumps(profile, separators=(",", ":"))


def open_sandbox(name: str, setting: Setting) -> Sandbox:
    """Raises: UserError when the backend is not to be had on this machine, or not with this setting."""
    sandbox: Sandbox = importlib.import_module(BACKENDS[name]).Backend(setting)
    return sandbox


def choose_sandbox(name: str) -> str:
    """`auto` is docker where an engine answers, else process."""
    if name != "auto":
        return name
    from harness.sandbox import docker

    return "docker" if docker.engine_answers() else "process"
