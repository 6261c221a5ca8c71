"""A participant's folder or archive, validated once at the border into a frozen value."""

import glob
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, field_validator

from harness.digest import digest_tree, tree_files
from harness.errors import UserError
from harness.records import Role
from harness.schema import Schema, validate

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")
IMAGE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
MAX_METADATA_BYTES = 64 << 10


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

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and not NAME_PATTERN.fullmatch(value):
            raise ValueError("is 1 to 64 of the characters A-Z a-z 0-9 space . _ + -, beginning with a letter or digit")
        return value

    @field_validator("container", "container_gpu")
    @classmethod
    def _image_reference(cls, value: str | None) -> str | None:
        if value is not None and not IMAGE_PATTERN.fullmatch(value):
            raise ValueError("is the name of a container image, such as python:3.11-slim")
        return value

    @field_validator("entry_point")
    @classmethod
    def _inside_folder(cls, value: str) -> str:
        if not value or value.startswith(("/", "-")) or ".." in value.split("/") or not value.isprintable():
            raise ValueError("is the path of a program inside the submission, such as run_attack.sh")
        return value


@dataclass(frozen=True)
class Submission:
    """One player. digest: of what it does, not of what it is called. folder: where its files lie."""

    name: str
    role: Role
    metadata: Metadata
    folder: Path
    digest: str

    def container(self, use_gpu: bool) -> str:
        """The image that its metadata names for this kind of machine."""
        return self.metadata.container_gpu if use_gpu and self.metadata.container_gpu else self.metadata.container


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

    Raises: UserError naming every fault.
    """
    metadata = _read_metadata(folder / "metadata.json")
    title = metadata.name or name or folder.name
    faults = list(_folder_faults(folder, metadata, title))
    if faults:
        raise UserError(faults)
    role = Role(metadata.type)
    functional = {"type": metadata.type, "entry_point": metadata.entry_point}
    return Submission(title, role, metadata, folder, digest_tree(folder, functional))


def archive_name(path: Path) -> str:
    """`attack.tar.gz` -> `attack`."""
    suffix = next(suffix for suffix in sorted(ARCHIVE_SUFFIXES, key=len) if path.name.lower().endswith(suffix))
    return path.name[: -len(suffix)]


def check_names(submissions: Iterable[Submission]) -> None:
    """Raises: UserError where two submissions of one role have one name."""
    seen: dict[tuple[Role, str], Submission] = {}
    faults = []
    for submission in submissions:
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
        data: Any = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({' '.join(str(error).split())}); mend it") from None
    return validate(Metadata, data, str(path))


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"key {twice[0]!r} twice")
    return dict(pairs)


def _folder_faults(folder: Path, metadata: Metadata, name: str) -> Iterable[str]:
    if not NAME_PATTERN.fullmatch(name):
        yield f"{folder}: the name {name!r} has other characters than A-Z a-z 0-9 space . _ + -; rename it"
    files = dict(tree_files(folder))
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
