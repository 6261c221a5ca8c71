"""A participant's folder or archive, validated once at the border into a frozen value."""

import glob
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from harness.digest import digest_tree, tree_files
from harness.errors import UserError
from harness.records import Role
from harness.schema import MAX_SHOWN, Schema, validate
from harness.trees import is_deeper
from harness.weights import Weights, fetch_command, find_weights

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")
RESERVED = ("clean", "no attack")
"""What tables and pages call the images that nobody attacked."""

IMAGE_PATTERN = re.compile(
    r"([A-Za-z0-9.-]+(:[0-9]{1,5})?/)?"  # a registry
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
"""What a container engine calls a reference; more than MAX_IMAGE_NAME characters are none."""
WEIGHTS_PATTERN = re.compile(r"[a-z0-9_]{1,64}")
MAX_METADATA_BYTES = 64 << 10
MAX_IMAGE_NAME = MAX_PATH = 255
MAX_DEPTH = 50
"""Folders inside one another; what copies and digests a tree calls itself for each."""


def _plain_weights(value: str) -> str:
    if not WEIGHTS_PATTERN.fullmatch(value):
        raise ValueError("is 1 to 64 of the characters a-z 0-9 _, the name of a weights file without .safetensors")
    return value


class Metadata(Schema):
    """`metadata.json`: the four keys of 2017, then the additions, all optional (docs/formats.md has the table)."""

    type: Literal["attack", "targeted_attack", "defense"]
    container: str
    container_gpu: str | None = None
    entry_point: str
    name: str | None = None
    authors: list[str] | str = Field(default_factory=list)
    description: str = ""
    url: str = ""
    labels: str | None = None
    gpu: bool = True
    deterministic: bool = True
    weights: list[Annotated[str, AfterValidator(_plain_weights)]] = Field(default_factory=list)

    @field_validator("weights")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("names one file twice")
        return value

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and not NAME_PATTERN.fullmatch(value):
            raise ValueError("is 1 to 64 of the characters A-Z a-z 0-9 space . _ + -, beginning with a letter or digit")
        return value

    @field_validator("authors", "description", "url")
    @classmethod
    def _readable(cls, value: list[str] | str) -> list[str] | str:
        if not all(char.isprintable() or char in "\t\n\u200c\u200d" for char in chain.from_iterable(value)):
            raise ValueError("has characters that cannot be shown; take out control characters and turns of direction")
        return value

    @field_validator("url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if value and (not value.startswith(("https://", "http://")) or set(value) & set(" \t\n\"'<>`\\")):
            raise ValueError("is an address on the web, such as https://example.org/paper")
        return value

    @field_validator("container", "container_gpu")
    @classmethod
    def _image_reference(cls, value: str | None) -> str | None:
        if value is not None and (len(value) > MAX_IMAGE_NAME or not IMAGE_PATTERN.fullmatch(value)):
            raise ValueError("is the name of a container image, such as python:3.11-slim")
        return value

    @field_validator("entry_point")
    @classmethod
    def _inside_folder(cls, value: str) -> str:
        outside = value.startswith(("/", "-")) or ".." in value.split("/")
        if outside or not value.isprintable() or not 0 < len(value) <= MAX_PATH:
            raise ValueError("is the path of a program inside the submission, such as run_attack.sh")
        return value


@dataclass(frozen=True)
class Entry:
    """What was handed in, found in order as far as its folder goes. folder: where its files lie."""

    name: str
    role: Role
    metadata: Metadata
    folder: Path

    def container(self, use_gpu: bool) -> str:
        """The image that its metadata names for this kind of machine."""
        return self.metadata.container_gpu if use_gpu and self.metadata.container_gpu else self.metadata.container


@dataclass(frozen=True)
class Submission(Entry):
    """One player. digest: of what it does, not of what it is called. weights: those of its files that it names so."""

    digest: str
    weights: tuple[Weights, ...] = ()


class UnavailableError(UserError):
    """An entry that is in order and cannot be played here as things are; a round goes on without it, and says so.

    reason: why, of no particular machine. remedy: a command or an option. missing: names of the weights it lacks.
    """

    def __init__(self, entry: Entry, reason: str, remedy: str, missing: Iterable[str] = ()) -> None:
        super().__init__(f"{entry.name}: {reason}; remedy: {remedy}")
        self.entry, self.reason, self.remedy, self.missing = entry, reason, remedy, tuple(missing)


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVE_SUFFIXES) and path.is_file()


def find_submissions(patterns: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Expands folders, globs and archives, sorted, and says what a glob matched that is no submission.

    Raises: UserError for a pattern that matches nothing, or a plain path that is no submission.
    """
    found: dict[Path, None] = {}
    notices: list[str] = []
    faults: list[str] = []
    for pattern in patterns:
        matches = sorted(Path(match) for match in glob.glob(pattern))
        if not matches:
            faults.append(f"{pattern}: no submission is there; check the path under 'submissions'")
        for path in matches:
            if (path / "metadata.json").exists() or is_archive(path):
                found[path] = None
            elif pattern in (str(path), glob.escape(str(path))):
                faults.append(f"{path}: is no submission, it has no metadata.json; see docs/formats.md")
            elif path.is_dir() and not path.name.startswith((".", "__")):
                notices.append(f"{path}: passed over, it has no metadata.json")
    if faults:
        raise UserError(faults)
    return list(found), notices


def load_submission(folder: Path, name: str | None = None) -> Submission:
    """Reads and checks an unpacked submission; `name` is its file name where the folder's own is not it.

    Raises: UserError naming every fault; UnavailableError where weights that it names are nowhere.
    """
    entry = _read_entry(folder, name)
    metadata = entry.metadata
    weights, missing = find_weights(folder, metadata.weights)
    if missing:
        reason = f"its weights {', '.join(missing)} are neither in its own folder nor in the weights folder"
        raise UnavailableError(entry, reason, fetch_command(missing), missing)
    functional = {"type": metadata.type, "entry_point": metadata.entry_point}
    digest = digest_tree(folder, functional, {one.place: one.path for one in weights})
    return Submission(entry.name, entry.role, metadata, folder, digest, weights)


def _read_entry(folder: Path, name: str | None) -> Entry:
    metadata = _read_metadata(folder / "metadata.json")
    title = metadata.name or name or folder.name
    faults = list(_folder_faults(folder, metadata, title))
    if faults:
        raise UserError(faults)
    return Entry(title, Role(metadata.type), metadata, folder)


def archive_name(path: Path) -> str:
    """`attack.tar.gz` -> `attack`."""
    suffix = next(suffix for suffix in sorted(ARCHIVE_SUFFIXES, key=len) if path.name.lower().endswith(suffix))
    return path.name[: -len(suffix)]


def check_names(entries: Iterable[Entry]) -> None:
    """Raises: UserError where two submissions of one role have one name, or an attack one of RESERVED."""
    seen: dict[tuple[Role, str], Entry] = {}
    faults = []
    for submission in entries:
        if submission.role is not Role.DEFENSE and submission.name in RESERVED:
            faults.append(
                f"{submission.name}: is what tables call the images that nobody attacked ({submission.folder}); "
                f"rename the folder or set name in metadata.json"
            )
        other = seen.setdefault((submission.role, submission.name), submission)
        if other is not submission:
            faults.append(
                f"{submission.name}: two submissions of type {submission.role} have this name "
                f"({other.folder} and {submission.folder}); rename a folder or set name in metadata.json"
            )
    if faults:
        raise UserError(faults)


def _read_metadata(path: Path) -> Metadata:
    try:
        if path.is_symlink() or not path.is_file():
            raise UserError(f"{path}: is missing or no plain file; every submission needs one, see docs/formats.md")
        if path.stat().st_size > MAX_METADATA_BYTES:
            raise UserError(f"{path}: is larger than {MAX_METADATA_BYTES >> 10} KiB; shorten it")
        text = path.read_text(encoding="utf-8")
        data: Any = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({' '.join(str(error).split())}); mend it") from None
    return validate(Metadata, data, str(path))


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(key for key, _ in pairs)
    twice = sorted(key for key, count in counts.items() if count > 1)
    if twice:
        raise ValueError(f"key {twice[0][:MAX_SHOWN]!r} twice")
    return dict(pairs)


def _no_constant(name: str) -> Any:
    """NaN and the infinities, which Python reads and JSON does not know."""
    raise ValueError(f"{name} is no JSON")


def _folder_faults(folder: Path, metadata: Metadata, name: str) -> Iterable[str]:
    if not NAME_PATTERN.fullmatch(name):
        yield f"{folder}: the name {name!r} has other characters than A-Z a-z 0-9 space . _ + -; rename it"
    if is_deeper(folder, MAX_DEPTH):
        yield f"{folder}: has more than {MAX_DEPTH} folders inside one another; make it flatter"
        return
    files = dict(tree_files(folder))
    odd = [relative for relative in files if not relative.isprintable()]
    if odd:
        yield f"{folder}: {odd[0]!r} has characters that cannot be shown; rename the file"
    entry = files.get(PurePosixPath(metadata.entry_point).as_posix(), folder)
    if not entry.is_file():
        yield f"{folder}: entry point {metadata.entry_point} is missing; add it or mend entry_point in metadata.json"
    elif not os.access(entry, os.X_OK) or not entry.stat().st_mode & 0o111:
        yield f"{folder}: entry point {metadata.entry_point} is not executable; run: chmod +x {entry}"
    for relative, path in files.items():
        if path.is_symlink():
            yield f"{folder}: {relative} is a link; replace it by the file itself"
        elif not path.is_file():
            yield f"{folder}: {relative} is no regular file; remove it"
