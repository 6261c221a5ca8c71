"""The registry of published weights: what there is, where it lies, and how it is recognised."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from advkit.config import pick
from advkit.errors import KitError

BUILT_IN = Path(__file__).with_name("registry.yaml")
TF_CHECKPOINT, NPY_PORT, TIMM_SAFETENSORS = "tf_checkpoint", "npy_port", "timm_safetensors"
KINDS = (TF_CHECKPOINT, NPY_PORT, TIMM_SAFETENSORS)
ARCHITECTURES = ("inception_v3", "inception_v4", "inception_resnet_v2")

NAME = re.compile(r"[a-z0-9_]{1,64}")
"""What a submission's metadata may name; it becomes part of a file's name, and cannot lead elsewhere."""

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Source:
    """A published file. `size` is in bytes; `member` is the checkpoint's name inside an archive of TF-slim."""

    kind: str
    url: str
    licence: str
    size: int | None = None
    sha256: str | None = None
    member: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise KitError(f"kind {self.kind!r} is unknown: there is {', '.join(KINDS)}")
        if not self.url.startswith(("http://", "https://")):
            raise KitError(f"url {self.url!r} is none of http or https")
        if self.sha256 is not None and not is_sha256(self.sha256):
            raise KitError(f"sha256 {self.sha256!r} is not 64 hexadecimal digits")


@dataclass(frozen=True)
class Accuracy:
    """Published share of clean images that are classified correctly, in percent, and of which set."""

    percent: float
    images: int
    source: str


@dataclass(frozen=True)
class Model:
    """Weights of one network that can be fetched; `sources` in order of preference."""

    name: str
    architecture: str
    description: str
    paper: str
    licence: str
    sources: tuple[Source, ...]
    accuracy: Accuracy | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise KitError("sources is empty")
        if self.architecture not in ARCHITECTURES:
            raise KitError(f"architecture {self.architecture!r} is unknown: there is {', '.join(ARCHITECTURES)}")


@dataclass(frozen=True)
class Shipped:
    """Weights of one network that come with a Python package of the kit."""

    name: str
    description: str
    paper: str
    licence: str
    package: str


@dataclass(frozen=True)
class Registry:
    """Both by name, in the order of the file."""

    models: Mapping[str, Model]
    shipped: Mapping[str, Shipped]

    def model(self, name: str) -> Model:
        """The weights of that name. Raises KitError where they are unknown or need no fetching."""
        if name in self.shipped:
            raise KitError(f"{name}: comes with the package {self.shipped[name].package}; there is nothing to do")
        return pick(self.models, name, "weights")


def read_registry(path: Path = BUILT_IN) -> Registry:
    """The registry of a YAML file. Raises KitError, with the entry, where it is not as docs/weights.md says."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KitError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KitError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(entries, dict) or not isinstance(entries.get("models"), dict):
        raise KitError(f"{path}: expected the key models with one entry for each name; see docs/weights.md")
    shipped = entries.get("shipped") or {}
    return Registry(
        {name: _entry(path, name, _model, entry) for name, entry in entries["models"].items()},
        {name: _entry(path, name, _shipped, entry) for name, entry in shipped.items()},
    )


def is_sha256(text: object) -> bool:
    """Whether this is a text of 64 lower-case hexadecimal digits."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")


def _entry(path: Path, name: Any, make: Callable[[str, dict[str, Any]], Entry], entry: Any) -> Entry:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise KitError(f"{path}: {name!r} is no name, which is 1 to 64 of the characters a-z 0-9 _")
    try:
        return make(name, dict(entry))
    except (TypeError, ValueError, KeyError, KitError) as error:
        raise KitError(f"{path}: {name}: not an entry of a registry ({error}); see docs/weights.md") from error


def _model(name: str, entry: dict[str, Any]) -> Model:
    sources = tuple(Source(**source) for source in entry.pop("sources"))
    accuracy = entry.pop("accuracy", None)
    return Model(name=name, sources=sources, accuracy=Accuracy(**accuracy) if accuracy else None, **entry)


def _shipped(name: str, entry: dict[str, Any]) -> Shipped:
    return Shipped(name=name, **entry)
