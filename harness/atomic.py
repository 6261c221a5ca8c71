"""Files that are there whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its name when the block ends without an exception.

    `durable` also forces the bytes to the disk first, so that a power cut cannot leave an empty file under
    the final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}"
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, data: bytes | str, *, durable: bool = True) -> None:
    """Writes `data` (text as UTF-8, newlines kept) to `path` in one step."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
