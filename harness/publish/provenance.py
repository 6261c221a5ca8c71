"""What a publication says of how a round was played, and nothing that tells on which machine or by whom it was run."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from harness.errors import printable
from harness.index import CallRecord
from harness.records import Role, Verdict
from harness.schema import Schema

SCHEMA_VERSION = 2

MOST = 1 << 60
"""Of any number here: bytes, seconds."""

LOG_LINES = 3
"""As many last lines of a failed call's log are published."""

OWN_PATHS = ("code", "input_images", "output_images", "output_data")
"""Where a container of the contract has its folders: these paths are the same on every machine."""

PATH = re.compile(rf"(?<![\w.:/-])/(?!(?:{'|'.join(OWN_PATHS)})\b)(?:[^\s/:'\"<>|()]+/)+")


class MachineFacts(Schema):
    """cores: that the harness could use; memory: bytes."""

    system: str = ""
    python: str = ""
    cores: int = 0
    memory: int = 0


class LimitFacts(Schema):
    """What one call could use: seconds for each batch, bytes, cores (None: a fair share of the machine)."""

    seconds: float = Field(gt=0, le=MOST)
    memory: int = Field(ge=0, le=MOST)
    cpus: int | None
    pids: int = Field(ge=0, le=MOST)
    output: int = Field(ge=0, le=MOST)
    gpu_memory: int | None = Field(None, ge=0, le=MOST)


Label = Annotated[str, Field(pattern=r"^[0-9]{1,6}$")]
"""A label as a key of JSON."""


class DatasetFacts(Schema):
    """What `dataset.yaml` says of it."""

    name: str
    description: str = ""
    source: str = ""
    licence: str = ""
    class_names: dict[Label, str] = Field(default_factory=dict)


class SlotFacts(Schema):
    """A share of the machine that a call had to itself."""

    cores: list[int]
    gpu: bool


class SubmissionFacts(Schema):
    """What a participant said of a submission, and what it is known by."""

    name: str
    type: Role = Field(strict=False)
    digest: str
    container: str
    authors: list[str] = Field(default_factory=list)
    description: str = ""
    url: str = ""
    labels: str | None = None
    deterministic: bool = True
    weights: dict[str, str] = Field(default_factory=dict)


class Provenance(Schema):
    """`provenance.json` as it is published. Keys that an older run did not note are None or empty."""

    schema_version: int = SCHEMA_VERSION
    began: str = ""
    seconds: float = Field(0.0, ge=0, le=MOST)
    harness: str = ""
    sandbox: str = ""
    rules: str | None = None
    versions_per_call: str | None = None
    machine: MachineFacts = MachineFacts()
    packages: dict[str, str] = Field(default_factory=dict)
    slots: list[SlotFacts] = Field(default_factory=list)
    limits: LimitFacts | None = None
    dataset: DatasetFacts | None = None
    submissions: list[SubmissionFacts] = Field(default_factory=list)


def published_provenance(raw: Mapping[str, Any]) -> dict[str, Any]:
    """`raw`, as a run wrote it, without what tells the machine: its name, its kernel, the ids of its GPUs, and every
    key that is not known here. Raises: pydantic.ValidationError where a run did not write it.
    """
    known = {name: raw[name] for name in Provenance.model_fields.keys() & raw.keys()}
    machine = {name: raw["machine"][name] for name in MachineFacts.model_fields if name in raw.get("machine", {})}
    machine["system"] = machine.get("system", "").partition("-")[0]
    slots = [{"cores": slot["cores"], "gpu": bool(slot["gpu"])} for slot in raw.get("slots", ())]
    submissions = [_submission(one) for one in raw.get("submissions", ())]
    own = {"schema_version": SCHEMA_VERSION, "machine": machine, "slots": slots, "submissions": submissions}
    return Provenance.model_validate(known | own).model_dump(mode="json")


def _submission(raw: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: raw[name] for name in SubmissionFacts.model_fields.keys() & raw.keys()}
    authors = known.get("authors", [])
    return known | {"authors": [authors] if isinstance(authors, str) else authors}


def published_log(call: CallRecord, host: str) -> str:
    """The last lines of a failed call's log, '' of one that went well; folders and the machine's name are cut out."""
    if call.verdict is Verdict.OK:
        return ""
    lines = [line for line in call.log.splitlines() if line.strip()][-LOG_LINES:]
    return "\n".join(_anonymous(printable(line), host) for line in lines)


def _anonymous(line: str, host: str) -> str:
    line = PATH.sub("…/", line)
    return re.sub(rf"(?<!\w){re.escape(host)}(?!\w)", "HOST", line) if host else line
