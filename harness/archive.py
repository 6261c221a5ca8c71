"""Unpacking a stranger's archive: plain files and folders inside one folder, within limits, nothing else."""

import errno
import io
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from harness.errors import UserError

MAX_ARCHIVE_BYTES = 8 << 30
MAX_UNPACKED_BYTES = 16 << 30
"""The limits of the 2017 competition."""
MAX_ENTRIES = 10_000
MAX_DEPTH = 50
MAX_HEADER_BYTES = 64 << 10
MAX_DIRECTORY_BYTES = 4 << 20
"""The list of contents at the end of a zip, which zipfile reads whole."""
GZIP = b"\x1f\x8b"
MAX_SHOWN = 100
TOO_MANY = "{}: has more than {} files; pack fewer"
MAX_RATIO, SMALL_BYTES = 100, 256 << 20
"""An archive may unpack to so many times its size, or to so much: what people pack to be used shrinks less."""

UNREADABLE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError,
)  # fmt: skip
"""What the standard library raises on archives that are damaged, encrypted, or name one path twice."""


class _PlainHeader(tarfile.TarInfo):
    """Refuses extended headers of a size that no path needs, and sparse files: tarfile reads the former, and the
    maps of the latter, whole into memory, and packed they may be a thousand times smaller.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_PlainHeader":
        header = super().frombuf(buf, encoding, errors)
        if not header.isreg() and header.size > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {header.size} bytes")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise ValueError("a sparse file")
        return header

    def _proc_gnusparse_10(self, *_: object) -> None:
        """Where tarfile would read the map of a sparse file of the PAX format."""
        raise ValueError("a sparse file")


class _SparingFile(io.FileIO):
    """A zip that cannot be made to be read whole: zipfile believes what the file says of its own list of contents."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise ValueError(f"a list of contents of {size} bytes")
        return super().read(-1 if size is None else size)


@dataclass(frozen=True)
class _Entry:
    """One regular file or folder of an archive."""

    name: str
    executable: bool


_Entries = Iterator[tuple[_Entry, IO[bytes] | None]]
"""Each entry and its bytes, or None for a folder."""


def unpack(archive: Path, target: Path) -> Path:
    """Unpacks `archive` into the empty folder `target`; the folder that holds `metadata.json` is returned.

    Raises: UserError for anything but plain files within the limits.
    """
    try:
        if archive.stat().st_size > MAX_ARCHIVE_BYTES:
            raise UserError(f"{archive}: is larger than {MAX_ARCHIVE_BYTES >> 30} GiB; make it smaller")
        with _entries(archive) as entries:
            _extract(archive, target, entries)
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{archive}: cannot be unpacked ({reason}); pack the folder again") from None
    return _root(archive, target)


@contextmanager
def _entries(archive: Path) -> Iterator[_Entries]:
    """The entries of a zip, of a tar, or of a tar in gzip. What a name ends in says whether it is a zip."""
    if archive.name.lower().endswith(".zip"):
        with (
            _SparingFile(archive) as file,
            zipfile.ZipFile(file) as opened,
            closing(_zip_entries(archive, opened)) as entries,
        ):
            yield entries
    else:
        with archive.open("rb") as start:
            packed = start.read(2) == GZIP
        with tarfile.open(archive, "r:gz" if packed else "r:", tarinfo=_PlainHeader) as opened_tar:
            yield _tar_entries(archive, opened_tar)


def _zip_entries(archive: Path, opened: zipfile.ZipFile) -> Generator[tuple[_Entry, IO[bytes] | None], None, None]:
    if len(opened.infolist()) > MAX_ENTRIES:
        raise UserError(TOO_MANY.format(archive, MAX_ENTRIES))
    for info in opened.infolist():
        kind = (info.external_attr >> 28) & 0xF
        if info.is_dir():
            yield _Entry(info.filename, False), None
            continue
        if kind not in (0, 8):
            raise UserError(f"{archive}: {_shown(info.filename)} is no regular file; pack plain files only")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is packed by another method than deflate")
        with opened.open(info) as file:
            executable = bool((info.external_attr >> 16) & 0o100)
            yield _Entry(info.filename, executable), file


def _tar_entries(archive: Path, opened: tarfile.TarFile) -> Iterator[tuple[_Entry, IO[bytes] | None]]:
    for info in opened:
        file = opened.extractfile(info) if info.isreg() else None
        if file is None and not info.isdir():
            raise UserError(f"{archive}: {_shown(info.name)} is no regular file; pack plain files only")
        yield _Entry(info.name, bool(info.mode & 0o100)), file


def _extract(archive: Path, target: Path, entries: _Entries) -> None:
    """Folders of the archive are counted, and made where a file needs them."""
    remaining = limit = min(MAX_UNPACKED_BYTES, max(SMALL_BYTES, MAX_RATIO * archive.stat().st_size))
    for count, (entry, file) in enumerate(entries, start=1):
        if count > MAX_ENTRIES:
            raise UserError(TOO_MANY.format(archive, MAX_ENTRIES))
        if file is None:
            continue
        parts = PurePosixPath(entry.name).parts
        if entry.name.startswith(("/", "\\")) or ".." in parts or "\0" in entry.name or not parts:
            raise UserError(f"{archive}: {_shown(entry.name)} would be written outside its folder; pack relative names")
        if not entry.name.isprintable():
            raise UserError(f"{archive}: {_shown(entry.name)} has characters that cannot be shown; rename the file")
        if len(parts) > MAX_DEPTH:
            raise UserError(f"{archive}: has more than {MAX_DEPTH} folders inside one another; make it flatter")
        path = target.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = _copy(file, path, remaining)
        if written is None:
            raise UserError(f"{archive}: unpacks to more than {limit >> 20} MiB; make it smaller")
        remaining -= written
        path.chmod(0o755 if entry.executable else 0o644)


def _copy(file: IO[bytes], path: Path, limit: int) -> int | None:
    """Copies at most `limit` bytes, whatever size the archive claims; how many, or None where there are more."""
    written = 0
    with path.open("xb") as output:
        while piece := file.read(1 << 20):
            written += len(piece)
            if written > limit:
                return None
            output.write(piece)
    return written


def _shown(name: str) -> str:
    """A name in quotes, cut to a size."""
    return repr(name if len(name) <= MAX_SHOWN else name[: MAX_SHOWN - 3] + "...")


def _root(archive: Path, target: Path) -> Path:
    if (target / "metadata.json").is_file():
        return target
    inner = [path for path in target.iterdir() if (path / "metadata.json").is_file()]
    if len(inner) != 1:
        raise UserError(
            f"{archive}: has no metadata.json at its top or in its one folder; pack the submission's folder"
        )
    return inner[0]
