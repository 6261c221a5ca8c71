"""The nouns: a work unit goes in, one outcome comes out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.digest import digest_value

PROTOCOL_VERSION = 1
"""Raised when the contract with a submission changes, so that no stored outcome is taken for a new one."""


class Role(StrEnum):
    """What a submission is, in the words of its `metadata.json`."""

    ATTACK = "attack"
    TARGETED_ATTACK = "targeted_attack"
    DEFENSE = "defense"


class Verdict(StrEnum):
    """How one call of a submission ended, as far as the submission is to blame."""

    OK = "ok"
    EXIT = "exit"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_OUTPUT = "bad_output"


class Fault(StrEnum):
    """What was wrong with the output for one image."""

    MISSING = "missing"
    NOT_A_FILE = "not_a_file"
    TOO_LARGE = "too_large"
    NOT_PNG = "not_png"
    CORRUPT = "corrupt"
    WRONG_MODE = "wrong_mode"
    WRONG_SIZE = "wrong_size"
    NOT_AN_INTEGER = "not_an_integer"
    OUTSIDE_LABELS = "outside_labels"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Limits:
    """What one call may use.

    seconds: wall time for each batch, from the start of the container. memory, output: bytes.
    cpus: cores, or None for a fair share of the machine. pids: processes and threads at one time. gpu_memory: bytes of
    a GPU that it needs, None for a whole one; it says where calls find room side by side, and nothing enforces it.
    """

    seconds: float = 500.0
    memory: int = 4 << 30
    cpus: int | None = None
    pids: int = 256
    output: int = 1 << 30
    gpu_memory: int | None = None


@dataclass(frozen=True)
class WorkUnit:
    """One call of one submission. The key is the digest of exactly these fields; names are no part of it.

    epsilon: budget on the 0..255 scale, None for a defense. inputs: digest of the names and images given.
    container: the image's digest, or the environment's under the `process` sandbox. gpu: whether it has one.
    """

    role: Role
    submission: str
    container: str
    inputs: str
    epsilon: int | None
    seed: int
    limits: Limits
    gpu: bool = False
    protocol: int = PROTOCOL_VERSION

    @cached_property
    def key(self) -> str:
        return digest_value("unit", _facts(self))

    @cached_property
    def player(self) -> str:
        """What all calls of one submission under the same conditions have in common."""
        return digest_value("player", _facts(replace(self, inputs="", epsilon=None)))


def _facts(unit: WorkUnit) -> dict[str, Any]:
    """What its key is the digest of: not how much of a GPU it is given a place by, which changes no result."""
    facts = {one.name: getattr(unit, one.name) for one in fields(unit)}
    limits = {one.name: getattr(unit.limits, one.name) for one in fields(Limits) if one.name != "gpu_memory"}
    return facts | {"limits": limits}


@dataclass(frozen=True)
class ImageAudit:
    """One adversarial image as it was taken into the store.

    digest: of the canonical image; of the clean one where `fault` says why there was none to take.
    raw_linf: largest |delta| before clipping, clipped: number of colour values that were clipped;
    linf, l2, mean_abs: of the perturbation after clipping, on the 0..255 scale.
    """

    image: str
    digest: str
    fault: Fault | None = None
    raw_linf: int = 0
    clipped: int = 0
    linf: int = 0
    l2: float = 0.0
    mean_abs: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """A defense's answer for one canonical image; `label` is None where it gave none that counts."""

    digest: str
    label: int | None
    fault: Fault | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a work unit. A submission's failure is a value here, never an exception.

    seconds: wall time of the call. peak_memory: bytes, 0 where it could not be read. log: text without
    control characters, already cut to size. unknown_names: how many files or rows it wrote that nobody asked for.
    """

    key: str
    verdict: Verdict
    exit_code: int | None
    seconds: float
    peak_memory: int
    log: str
    images: tuple[ImageAudit, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    unknown_names: int = 0

    @property
    def faults(self) -> dict[Fault, int]:
        """How many images each kind of fault cost."""
        faults = [image.fault for image in self.images] + [answer.fault for answer in self.predictions]
        return dict(Counter(fault for fault in faults if fault is not None))


@dataclass(frozen=True)
class Slot:
    """A share of the machine that one call has to itself: some cores and perhaps a GPU."""

    number: int
    cores: tuple[int, ...]
    gpu: str | None = None


@dataclass(frozen=True)
class Call:
    """A work unit with all that is needed to play it.

    images: file name -> digest of the canonical image that is put there. targets: file name -> target class.
    seconds: the wall-time limit. label: for people only.
    """

    unit: WorkUnit
    label: str
    entry_point: str
    code: Path
    images: Mapping[str, str]
    targets: Mapping[str, int] | None
    seconds: float
