"""Unpacking a stranger's archive: plain files and folders inside one folder, within limits, nothing else."""

import errno
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from harness.errors import UserError

MAX_ARCHIVE_BYTES = 8 << 30
MAX_UNPACKED_BYTES = 16 << 30
MAX_ENTRIES = 10_000
MAX_HEADER_BYTES = 64 << 10
"""The first two are the limits of the 2017 competition."""


UNREADABLE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError,
    RuntimeError, ValueError,
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


@dataclass(frozen=True)
class _Entry:
    """One regular file of an archive."""

    name: str
    size: int
    executable: bool


def unpack(archive: Path, target: Path) -> Path:
    """Unpacks `archive` into the empty folder `target`; the folder that holds `metadata.json` is returned.

    Raises: UserError for anything but plain files within the limits.
    """
    try:
        if archive.stat().st_size > MAX_ARCHIVE_BYTES:
            raise UserError(f"{archive}: is larger than {MAX_ARCHIVE_BYTES >> 30} GiB; make it smaller")
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as opened, closing(_zip_entries(archive, opened)) as entries:
                _extract(archive, target, entries)
        else:
            with tarfile.open(archive, "r:*", tarinfo=_PlainHeader) as opened_tar:
                _extract(archive, target, _tar_entries(archive, opened_tar))
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = " ".join(str(error).split())
        raise UserError(f"{archive}: cannot be unpacked ({reason}); pack the folder again") from None
    return _root(archive, target)


def _zip_entries(archive: Path, opened: zipfile.ZipFile) -> Generator[tuple[_Entry, IO[bytes]], None, None]:
    for info in opened.infolist():
        kind = (info.external_attr >> 28) & 0xF
        if info.is_dir():
            continue
        if kind not in (0, 8):
            raise UserError(f"{archive}: {info.filename!r} is no regular file; pack plain files only")
        with opened.open(info) as file:
            executable = bool((info.external_attr >> 16) & 0o100)
            yield _Entry(info.filename, info.file_size, executable), file


def _tar_entries(archive: Path, opened: tarfile.TarFile) -> Iterator[tuple[_Entry, IO[bytes]]]:
    for info in opened:
        if info.isdir():
            continue
        file = opened.extractfile(info) if info.isreg() else None
        if file is None:
            raise UserError(f"{archive}: {info.name!r} is no regular file; pack plain files only")
        yield _Entry(info.name, info.size, bool(info.mode & 0o100)), file


def _extract(archive: Path, target: Path, entries: Iterator[tuple[_Entry, IO[bytes]]]) -> None:
    remaining = MAX_UNPACKED_BYTES
    for count, (entry, file) in enumerate(entries, start=1):
        parts = PurePosixPath(entry.name).parts
        if entry.name.startswith(("/", "\\")) or ".." in parts or "\0" in entry.name or not parts:
            raise UserError(f"{archive}: {entry.name!r} would be written outside its folder; pack relative names")
        if count > MAX_ENTRIES:
            raise UserError(f"{archive}: has more than {MAX_ENTRIES} files; pack fewer")
        path = target.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        remaining -= _copy(file, path, remaining, archive)
        path.chmod(0o755 if entry.executable else 0o644)


def _copy(file: IO[bytes], path: Path, limit: int, archive: Path) -> int:
    """Copies at most `limit` bytes, whatever size the archive claims; the number of bytes is returned."""
    written = 0
    with path.open("xb") as output:
        while piece := file.read(1 << 20):
            written += len(piece)
            if written > limit:
                raise UserError(f"{archive}: unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB; make it smaller")
            output.write(piece)
    return written


def _root(archive: Path, target: Path) -> Path:
    if (target / "metadata.json").is_file():
        return target
    inner = [path for path in target.iterdir() if (path / "metadata.json").is_file()]
    if len(inner) != 1:
        raise UserError(
            f"{archive}: has no metadata.json at its top or in its one folder; pack the submission's folder"
        )
    return inner[0]
