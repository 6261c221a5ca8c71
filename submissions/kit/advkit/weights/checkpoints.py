"""Reader of TF-slim checkpoints: as files, or in the archives they were published in.

TensorFlow is imported here and only when a checkpoint is read.
"""

import gzip
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from io import RawIOBase
from math import prod
from pathlib import Path
from shutil import copyfileobj
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from advkit.errors import KitError
from advkit.weights.files import how_to_install, one_line

SUFFIXES = (".index", ".data-00000-of-00001", "")
"""Of the files of a checkpoint of 2017 and later (the first two), and of the one file of an older one."""

IGNORED_SUFFIX = ".meta"
"""The graph, which nobody needs."""

MOST_TIMES, MOST_BYTES = 10, 4 << 30
"""An archive may unpack to so many times its size, and to so many bytes. Weights hardly shrink."""

MOST_MEMBERS = 100

CHUNK = 1 << 20

NO_TENSORFLOW = f"TensorFlow, which reads checkpoints, is not here: {how_to_install('tensorflow')}"

NOT_WHOLE = "not a whole checkpoint of TensorFlow; fetch the file again"


class Checkpoint(Mapping[str, NDArray[np.float32]]):
    """Name -> float32 array, in TensorFlow's layout, of the variables of a checkpoint; each is read when asked for."""

    def __init__(self, prefix: Path) -> None:
        """Raises KitError where TensorFlow is not installed; where it is not whole, now or when a variable is read."""
        tensorflow = _import_tensorflow()
        self._errors = (tensorflow.errors.OpError, LookupError, RuntimeError, ValueError, TypeError, OSError)
        try:
            self._reader = tensorflow.train.load_checkpoint(str(prefix))
            shapes = self._reader.get_variable_to_shape_map()
            dtypes = self._reader.get_variable_to_dtype_map()
        except self._errors as error:
            raise KitError(NOT_WHOLE) from error
        self._shapes = {name: shapes[name] for name in sorted(shapes) if dtypes[name] == tensorflow.float32}
        if 4 * sum(map(prod, self._shapes.values())) > MOST_TIMES * sum(map(_size, checkpoint_files(prefix))):
            raise KitError(NOT_WHOLE)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        if name not in self._shapes:
            raise KeyError(name)
        try:
            array: NDArray[np.float32] = self._reader.get_tensor(name)
        except self._errors as error:
            raise KitError(NOT_WHOLE) from error
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def checkpoint_files(path: Path) -> list[Path]:
    """The files of a checkpoint that is named by its prefix or by one of its files; empty where there is none."""
    name = path.name
    for suffix in (*SUFFIXES[:2], IGNORED_SUFFIX):
        name = name.removesuffix(suffix)
    pair = [path.with_name(name + suffix) for suffix in SUFFIXES[:2]]
    if all(part.is_file() for part in pair):
        return pair
    return [path] if path.is_file() and name == path.name else []


def prefix_of(path: Path) -> Path:
    """What TensorFlow calls the checkpoint of a file. Raises KitError where its files are not all there."""
    files = checkpoint_files(path)
    if not files:
        raise KitError(f"{path}: of a checkpoint the files .index and .data-00000-of-00001 are needed, in one folder")
    return files[0].with_name(files[0].name.removesuffix(SUFFIXES[0]))


@contextmanager
def unpacked(archive: Path, member: str) -> Iterator[Path]:
    """The prefix of the checkpoint `member` of a .tar.gz, in a temporary folder and under a name of our own.

    Nothing else is taken from the archive. Raises KitError for links, for an archive that unpacks to far more
    than its size, for one that ends early and for one without that checkpoint.
    """
    with tempfile.TemporaryDirectory(prefix="advkit-weights-") as folder:
        prefix = Path(folder) / "checkpoint"
        try:
            with gzip.open(archive) as stream:
                limited = _Limited(archive, stream)
                with tarfile.open(fileobj=limited, mode="r|") as tar:
                    _take(archive, tar, member, prefix)
                limited.drain()
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise KitError(f"{archive}: not a whole .tar.gz archive ({one_line(error)}); fetch it again") from error
        if not checkpoint_files(prefix):
            raise KitError(f"{archive}: no checkpoint {member} in this archive; name the right file")
        yield prefix


def has_tensorflow() -> bool:
    """Whether checkpoints can be read; where not, NO_TENSORFLOW says what to do."""
    return find_spec("tensorflow") is not None


class _Limited(RawIOBase):
    """A stream that raises KitError when more is read from it than an honest archive of this size holds."""

    def __init__(self, archive: Path, stream: BinaryIO | gzip.GzipFile) -> None:
        self._archive, self._stream = archive, stream
        self._left = min(MOST_BYTES, (1 << 20) + MOST_TIMES * _size(archive))

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(min(size, CHUNK) if size >= 0 else CHUNK)
        self._left -= len(data)
        if self._left < 0:
            raise KitError(f"{self._archive}: unpacks to far more than its size; this is no archive of weights")
        return data

    def drain(self) -> None:
        """Read to the end, where the checksum stands that the archive has of itself."""
        while self.read(CHUNK):
            pass


def _take(archive: Path, tar: tarfile.TarFile, member: str, prefix: Path) -> None:
    wanted = {f"{member}{suffix}": Path(f"{prefix}{suffix}") for suffix in SUFFIXES}
    for count, entry in enumerate(tar):
        if count >= MOST_MEMBERS:
            raise KitError(f"{archive}: more than {MOST_MEMBERS} files; this is no archive of weights")
        target = wanted.pop(entry.name.removeprefix("./"), None)
        if target is None:
            continue
        content = tar.extractfile(entry) if entry.isreg() else None
        if content is None:
            raise KitError(f"{archive}: {entry.name} is no regular file; this is no archive of weights")
        with target.open("xb") as file:
            copyfileobj(content, file, CHUNK)


def _size(path: Path) -> int:
    return path.stat().st_size


def _import_tensorflow() -> Any:
    if not has_tensorflow():
        raise KitError(NO_TENSORFLOW)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # nothing is computed, and it is not silent about being there
    import tensorflow  # type: ignore[import-untyped,import-not-found,unused-ignore]

    return tensorflow
