"""What a bundle is made of: the digest of every file, and of every image, submission and container behind it."""

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import harness
from harness.digest import digest_file
from harness.errors import UserError
from harness.publish.border import check_version, read_value
from harness.publish.evidence import Evidence, write_json

KIND = "adversarial-harness bundle"
SCHEMA_VERSION = 1
"""Raised when a key goes or means something else, or when files of a bundle do."""

FILE_NAME = "manifest.json"
SIGNATURE = "manifest.json.sig"

PACKAGES = ("jinja2", "matplotlib", "numpy", "pillow", "pyarrow", "scipy")
"""What the bytes of a bundle may depend on."""

MAX_FILES = 200_000


@dataclass(frozen=True)
class Entry:
    """One file of a bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`. made_with: versions of what wrote it. dataset: `name` and `digest`. images: id -> digest of the
    canonical image. submissions: `name`, `type`, `digest` and `container`. files: path -> what it is.
    """

    kind: str
    schema_version: int
    tournament: str
    complete: bool
    rules: str
    made_with: dict[str, str]
    dataset: dict[str, str]
    images: dict[str, str]
    submissions: list[dict[str, str]]
    files: dict[str, Entry]


def made_with() -> dict[str, str]:
    """The versions at work."""
    own = {"harness": harness.__version__, "python": platform.python_version()}
    return own | {name: version(name) for name in PACKAGES}


def write_manifest(evidence: Evidence, folder: Path) -> None:
    """Of all that lies in `folder` by now."""
    round_ = evidence.round
    manifest = Manifest(
        KIND,
        SCHEMA_VERSION,
        round_.tournament,
        evidence.table.holes == 0,
        round_.rules,
        made_with(),
        {"name": round_.dataset, "digest": round_.dataset_digest},
        {image.id: image.clean for image in round_.images},
        _submissions(evidence),
        {name: Entry(digest_file(path), path.stat().st_size) for name, path in sorted(plain_files(folder))},
    )
    write_json(asdict(manifest), folder / FILE_NAME)


def _submissions(evidence: Evidence) -> list[dict[str, str]]:
    """What a run noted of its players, less what is said for readers."""
    known: list[Mapping[str, Any]] = evidence.provenance["submissions"]
    return [{key: str(one[key]) for key in ("name", "type", "digest", "container")} for one in known]


def read_manifest(folder: Path) -> Manifest:
    """Raises: UserError where there is none, or none of this version."""
    path = folder / FILE_NAME
    check_version(path, SCHEMA_VERSION)
    manifest = read_value(path, Manifest)
    if manifest.kind != KIND:
        raise UserError(f"{path}: is of another kind than {KIND}; name a folder that harness publish wrote")
    return manifest


def plain_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name from the folder, path) of each file that a manifest has to list."""
    own = {FILE_NAME, SIGNATURE}
    return ((name, path) for name, path in walk(folder) if name not in own and is_plain(path))


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name from the folder, path) of all that lies below it and is no folder; links are named and not followed.

    Raises: UserError where that is more than a bundle can be.
    """
    count = 0
    for parent, folders, names in os.walk(folder):
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in [*names, *linked]:
            count += 1
            if count > MAX_FILES:
                raise UserError(f"{folder}: holds more than {MAX_FILES} files; it is no bundle of harness publish")
            path = Path(parent, name)
            yield path.relative_to(folder).as_posix(), path


def is_plain(path: Path) -> bool:
    """A regular file, and no link to one."""
    return path.is_file() and not path.is_symlink()
