"""The tournament file and what it means. YAML is read here and nowhere else."""

import glob
import os
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator

from harness.errors import UserError
from harness.records import Limits
from harness.schema import Bytes, Schema, validate

RuleName = Literal["fair", "nips17-dev", "nips17-final"]
SandboxName = Literal["auto", "docker", "process"]
ExecutorName = Literal["local", "ray"]

PathText = Annotated[Path, Field(strict=False)]

ROTATION = (4, 8, 12, 16)
"""Epsilon of batch i in the 2017 evaluation is ROTATION[i % 4], on the 0..255 scale."""


class LimitsConfig(Schema):
    """`limits:` of a tournament file; sizes as numbers of bytes or as '4 GiB'."""

    seconds: float = Field(Limits.seconds, gt=0, strict=False)
    memory: Bytes = Field(Limits.memory, ge=16 << 20)
    cpus: Literal["auto"] | int = "auto"
    pids: int = Field(Limits.pids, ge=1)
    output: Bytes = Field(Limits.output, ge=1 << 10)
    gpu_memory: Bytes | None = Field(None, ge=1)

    @field_validator("cpus")
    @classmethod
    def _positive(cls, value: Literal["auto"] | int) -> Literal["auto"] | int:
        if value != "auto" and value < 1:
            raise ValueError("is auto or a number of cores of at least 1")
        return value

    def resolve(self) -> Limits:
        cpus = None if self.cpus == "auto" else self.cpus
        return Limits(self.seconds, self.memory, cpus, self.pids, self.output, self.gpu_memory)


class DatasetConfig(Schema):
    """`dataset:` as a mapping. limit: only the first so many images of the CSV."""

    path: PathText
    images: PathText | None = None
    metadata: PathText | None = None
    limit: int | None = Field(None, ge=1)


class Tournament(Schema):
    """A validated tournament file, paths made absolute."""

    name: str = Field(min_length=1, max_length=100)
    dataset: DatasetConfig
    submissions: list[str] = Field(min_length=1)
    images: dict[str, PathText] = Field(default_factory=dict)
    epsilon: int | list[int] | Literal["rotate"] = 16
    batch_size: int = Field(100, ge=1)
    limits: LimitsConfig = LimitsConfig()
    sandbox: SandboxName = "auto"
    runtime: str | None = Field(None, min_length=1)
    seccomp: PathText | None = None
    slots: Literal["auto"] | int = "auto"
    gpu: Literal["auto"] | bool = "auto"
    seed: int = Field(0, ge=0)
    rules: RuleName = "fair"
    versions_per_call: Literal[1, "all"] = 1
    trust_submissions: bool = False
    output: PathText
    store: PathText | None = None
    objects: str | None = Field(None, min_length=1)
    executor: ExecutorName = "local"
    ray_address: str | None = Field(None, min_length=1)

    @field_validator("dataset", mode="before")
    @classmethod
    def _dataset_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("submissions", mode="before")
    @classmethod
    def _one_submission(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("epsilon")
    @classmethod
    def _epsilon_range(cls, value: int | list[int] | str) -> int | list[int] | str:
        values = value if isinstance(value, list) else [] if isinstance(value, str) else [value]
        if value == [] or any(not 0 <= epsilon <= 255 for epsilon in values):
            raise ValueError("is rotate, an integer in 0..255, or a list of them")
        if len(set(values)) != len(values):
            raise ValueError("names a value twice")
        return value

    @field_validator("slots")
    @classmethod
    def _slots_range(cls, value: Literal["auto"] | int) -> Literal["auto"] | int:
        if value != "auto" and value < 1:
            raise ValueError("is auto or a number of at least 1")
        return value

    @property
    def store_path(self) -> Path:
        return self.store or self.output / "store"

    def epsilons(self, batch: int) -> list[int]:
        """The budgets that batch number `batch` is played with, on the 0..255 scale."""
        if self.epsilon == "rotate":
            return [ROTATION[batch % len(ROTATION)]]
        return [self.epsilon] if isinstance(self.epsilon, int) else list(self.epsilon)

    @property
    def epsilon_labels(self) -> list[str]:
        """The names of the epsilon axis of the score table."""
        return ["rotate"] if self.epsilon == "rotate" else [str(value) for value in self.epsilons(0)]


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; an organiser would never know."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} twice (line {line})")
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, kind: str) -> Any:
    """The plain value of a YAML file. `kind` names the file in messages ('tournament file').

    Raises: UserError when it is missing, unreadable, or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such {kind}; check the path (ready ones lie in tournaments/)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {kind} cannot be read as UTF-8 text ({error}); mend or replace it") from None
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: {kind} is not valid YAML: {reason}; mend that line") from None


def load_tournament(path: Path, overrides: dict[str, Any] | None = None) -> Tournament:
    """Reads a tournament file; relative paths are taken from the file's own folder.

    `overrides` are values given on the command line, their paths absolute; `limit` among them is the one of
    the dataset. Raises: UserError naming every fault of the file.
    """
    data = read_yaml(path, "tournament file")
    if isinstance(data, dict):
        data.setdefault("name", path.stem)
        data = _override(_absolute(data, path.parent.resolve()), overrides or {})
    given = {"dataset.limit" if key == "limit" else key for key in overrides or ()}
    return validate(Tournament, data, str(path), given)


def tournament_from_flags(overrides: dict[str, Any]) -> Tournament:
    """A tournament from the command line alone; see `load_tournament` for `overrides`."""
    return validate(Tournament, _override({}, overrides), "command line")


def _override(data: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = data | {key: value for key, value in overrides.items() if key != "limit"}
    if "limit" in overrides:
        dataset = merged.get("dataset")
        dataset = {"path": dataset} if isinstance(dataset, str) else dataset
        merged["dataset"] = dataset | {"limit": overrides["limit"]} if isinstance(dataset, dict) else dataset
    return merged


def is_folder(objects: Any) -> bool:
    """Whether `objects:` names a folder and not a URL."""
    return isinstance(objects, str) and "://" not in objects


def _absolute(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`data` with every path that it names made absolute; values of a wrong type are left to validation."""

    def join(value: Any) -> Any:
        return os.path.normpath(folder / os.path.expanduser(value)) if isinstance(value, str) else value

    def join_pattern(value: Any) -> Any:
        """A glob is what the file says; brackets in the folder's own name are none of it."""
        escaped = Path(glob.escape(str(folder)))
        return os.path.normpath(escaped / os.path.expanduser(value)) if isinstance(value, str) else value

    joined = dict(data)
    for key in ("output", "store", "seccomp"):
        if key in joined:
            joined[key] = join(joined[key])
    if is_folder(joined.get("objects")):
        joined["objects"] = join(joined["objects"])
    dataset = joined.get("dataset")
    if isinstance(dataset, dict):
        paths = {key: join(dataset[key]) for key in ("path", "images", "metadata") if key in dataset}
        joined["dataset"] = dataset | paths
    elif "dataset" in joined:
        joined["dataset"] = join(dataset)
    submissions = joined.get("submissions")
    if isinstance(submissions, str):
        joined["submissions"] = [join_pattern(submissions)]
    elif isinstance(submissions, list):
        joined["submissions"] = [join_pattern(item) for item in submissions]
    if isinstance(joined.get("images"), dict):
        joined["images"] = {name: join(value) for name, value in joined["images"].items()}
    return joined
