"""Every digest of the project is made here: SHA-256 in hex, tagged by the kind of thing that was digested."""

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

IGNORED_NAMES = frozenset({"__pycache__", ".git", ".DS_Store", ".ipynb_checkpoints"})


def digest_bytes(data: bytes | memoryview) -> str:
    """The digest of a file's bytes, untagged: what `sha256sum` prints."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """`digest_bytes` of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_value(kind: str, value: Any) -> str:
    """The digest of a JSON value, tagged by `kind`, independent of the order of keys."""
    text = json.dumps([kind, value], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return digest_bytes(text.encode())


def tree_files(folder: Path) -> Iterable[tuple[str, Path]]:
    """The (relative POSIX name, path) of each file below `folder`, sorted; links are listed, not followed."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in IGNORED_NAMES]
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in [*names, *linked]:
            if name not in IGNORED_NAMES:
                path = Path(parent, name)
                found.append((path.relative_to(folder).as_posix(), path))
    return sorted(found)


def digest_files(kind: str, about: Any, files: Iterable[tuple[str, Path]]) -> str:
    """The digest of `about` and of the names, execute bits and bytes of `files` (name, path)."""
    entries = [[name, bool(path.lstat().st_mode & stat.S_IXUSR), digest_file(path)] for name, path in files]
    return digest_value(kind, [about, entries])


def digest_tree(folder: Path, functional_metadata: dict[str, Any]) -> str:
    """The digest of a submission's folder.

    `metadata.json` is replaced by `functional_metadata`, so that a new title or description of a
    submission does not make it another submission.
    """
    files = [(name, path) for name, path in tree_files(folder) if name != "metadata.json"]
    return digest_files("submission", functional_metadata, files)


def seed_from(kind: str, value: Any) -> int:
    """A seed in 0..2**32-1 that depends on nothing but `kind` and `value`."""
    return int(digest_value(kind, value)[:8], 16)
