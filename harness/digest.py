"""Every digest of the project is made here: SHA-256 in hex, tagged by the kind of thing that was digested."""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Container, Iterable, Iterator
from importlib.metadata import Distribution
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

IGNORED_NAMES = frozenset({"__pycache__", ".git", ".DS_Store", ".ipynb_checkpoints"})
FOREIGN_FOLDERS = ("node_modules", "site-packages")

LARGE_BYTES = 16 << 20
"""From this size on the digest of a file is remembered: weights that nobody touches are read once in a process."""

SETTLED_NS = 2 * 10**9
"""Only of a file that was left alone for so long: a later change is then sure to move its times."""

_known: dict[tuple[int, ...], str] = {}


def digest_bytes(data: bytes | memoryview) -> str:
    """The digest of a file's bytes, untagged: what `sha256sum` prints."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """`digest_bytes` of a file, read in pieces; a large one is not read again while it stays what it was.

    Anybody can set back the time of its last change; the time at which anything of it changed is the kernel's own.
    """
    now = time.time_ns()
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        digest = _known.get(key) or hashlib.file_digest(file, "sha256").hexdigest()
    if status.st_size >= LARGE_BYTES and now - status.st_ctime_ns > SETTLED_NS:
        _known[key] = digest
    return digest


def digest_value(kind: str, value: Any) -> str:
    """The digest of a JSON value, tagged by `kind`, independent of the order of keys."""
    text = json.dumps([kind, value], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return digest_bytes(text.encode())


def digester(kind: str, about: Any) -> Callable[[str], str]:
    """A function that gives the digest of (`about`, a text), tagged by `kind`; for many texts about the same thing."""
    begun = hashlib.sha256(json.dumps([kind, about], sort_keys=True, separators=(",", ":")).encode())

    def digest(text: str) -> str:
        one = begun.copy()
        one.update(text.encode())
        return one.hexdigest()

    return digest


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


def digest_files(kind: str, about: Any, files: Iterable[tuple[str, Path]], data: Container[str] = ()) -> str:
    """The digest of `about` and of the names, execute bits and bytes of `files` (name, path).

    data: names of files whose execute bit means nothing.
    """
    entries = [[name, name not in data and _is_executable(path), digest_file(path)] for name, path in files]
    return digest_value(kind, [about, entries])


def _is_executable(path: Path) -> bool:
    return bool(path.lstat().st_mode & stat.S_IXUSR)


def digest_tree(folder: Path, functional_metadata: dict[str, Any], data: dict[str, Path] | None = None) -> str:
    """The digest of a submission's folder.

    `metadata.json` is replaced by `functional_metadata`, so that a new title or description of a
    submission does not make it another submission. data: name -> path of files that count as the folder's
    own wherever they lie, and that nobody executes.
    """
    data = data or {}
    files = dict(tree_files(folder)) | data
    files.pop("metadata.json", None)
    return digest_files("submission", functional_metadata, sorted(files.items()), data)


def digest_local(item: Distribution) -> str | None:
    """The digest of a distribution's files, if it was installed from a folder or a file of this machine; else None."""
    origin = json.loads(item.read_text("direct_url.json") or "{}")
    url = urlsplit(origin.get("url", ""))
    if url.scheme != "file":
        return None
    if not origin.get("dir_info", {}).get("editable"):
        return digest_value("installed", item.read_text("RECORD"))  # it lists a digest of each
    names = (item.read_text("top_level.txt") or "").split()
    return digest_files("editable", None, _edited_files(Path(unquote(url.path)), names))


def _edited_files(folder: Path, names: Iterable[str]) -> list[tuple[str, Path]]:
    """The files of its packages and modules; where one is not directly in `folder`, all Python files below that.

    Links that lead nowhere are not among them: an editor makes one beside each file that it has open.
    """
    found = [[*tree_files(folder / name), (f"{name}.py", folder / f"{name}.py")] for name in names]
    there = [[file for file in files if file[1].is_file()] for files in found]
    return list(chain(*there)) if there and all(there) else list(_python_files(folder))


def _python_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The (relative name, path) of the project's own, sorted; hidden folders and installed packages are not."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in FOREIGN_FOLDERS and not name.startswith("."))
        paths = [Path(parent, name) for name in sorted(names) if name.endswith(".py")]
        yield from ((path.relative_to(folder).as_posix(), path) for path in paths if path.is_file())


def seed_from(kind: str, value: Any) -> int:
    """A seed in 0..2**32-1 that depends on nothing but `kind` and `value`."""
    return int(digest_value(kind, value)[:8], 16)
