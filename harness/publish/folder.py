"""The folder of a site: which tournaments lie in it, and how new ones come in while nothing foreign is touched."""

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.digest import digest_file
from harness.errors import UserError
from harness.publish.border import read_plain
from harness.publish.evidence import write_json
from harness.publish.manifest import FILE_NAME, SIGNATURE, plain_files, read_manifest, walk
from harness.publish.slugs import slug
from harness.trees import remove_tree

KIND = "adversarial-harness site"
SCHEMA_VERSION = 1
SITE = "site.json"
"""Lists the files of the entry page, so that only what we wrote is ever replaced."""

ENTRY = ("index.html", "assets")
TEMPORARY = ".harness-publish-"


def bundles_in(folder: Path) -> list[Path]:
    """The bundles of a site, sorted by name; none where the folder is not there.

    Raises: UserError where something lies there that no publication wrote. What begins with a dot is not looked at.
    """
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder; name another with --to")
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    known = site_files(folder)
    bundles = [path for path in entries if path.name not in (SITE, *ENTRY)]
    own = {SITE, *known}
    for name, path in [(path.name, path) for path in entries if path.name not in {one.name for one in bundles}]:
        inner = [f"{name}/{below}" for below, _ in walk(path)] if path.is_dir() else [name]
        _refuse_foreign(folder, [one for one in inner if one not in own])
    for bundle in bundles:
        _check_bundle(bundle)
    return bundles


def _check_bundle(folder: Path) -> None:
    """Raises: UserError where it is none, or more than its manifest says."""
    if folder.is_symlink() or not (folder / FILE_NAME).is_file():
        _refuse_foreign(folder.parent, [folder.name])
    manifest = read_manifest(folder)
    if fault := name_fault(folder, manifest.tournament):
        raise UserError(f"{folder}: {fault}; give it that name, or name another --to")
    known = {FILE_NAME, SIGNATURE, *manifest.files}
    _refuse_foreign(folder, [name for name, _ in walk(folder) if name not in known])


def name_fault(folder: Path, tournament: str) -> str | None:
    """What is wrong with the name of a bundle's folder in a site: the entry page links to the tournament's own."""
    due = slug(tournament)
    return None if folder.name == due else f"holds the tournament {tournament}, whose folder in a site is {due}"


def _refuse_foreign(folder: Path, names: Sequence[str]) -> None:
    if names:
        raise UserError(f"{folder / names[0]}: harness publish did not write this; move it away, or name another --to")


def site_files(folder: Path) -> dict[str, str]:
    """Path -> digest of the entry page's files, as SITE lists them; empty where there is no SITE. Raises: UserError."""
    path = folder / SITE
    if not os.path.lexists(path):
        return {}
    data = read_plain(path)
    files = data.get("files") if isinstance(data, dict) else None
    if not isinstance(files, dict) or data.get("kind") != KIND or data.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{path}: is no list of the files of a site; name another folder with --to")
    return {str(name): str(digest) for name, digest in files.items()}


def write_site_list(folder: Path) -> None:
    """Writes SITE for the entry page that lies in `folder`."""
    found = [(name, path) for name, path in plain_files(folder) if name.split("/")[0] in ENTRY]
    files = {name: digest_file(path) for name, path in sorted(found)}
    write_json({"kind": KIND, "schema_version": SCHEMA_VERSION, "files": files}, folder / SITE)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A temporary folder inside `folder`, which is made where it is missing and held for one process."""
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    temporary = folder / f"{TEMPORARY}{secrets.token_hex(6)}"
    try:
        _hold(handle, folder)
        for left in folder.glob(f"{TEMPORARY}*"):
            remove_tree(left)
        temporary.mkdir()
        yield temporary
    finally:
        remove_tree(temporary)
        os.close(handle)
        if made:
            with suppress(OSError):  # not empty: something was published
                folder.rmdir()


def _hold(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{folder}: another harness is publishing there; wait for it to end") from None


def put_in_place(names: Iterable[str], staging: Path, folder: Path) -> None:
    """Moves each of `names` from `staging` to `folder`; what was there under the name goes, or stays if that fails."""
    for name in names:
        old = staging / f".old-{name}"
        if os.path.lexists(folder / name):
            os.rename(folder / name, old)
        try:
            os.rename(staging / name, folder / name)
        except OSError:
            if os.path.lexists(old):
                os.rename(old, folder / name)
            raise
