"""Ways to write the files of a data set, and what is asked of what was read from them."""

import io
import tarfile
import zipfile

import numpy as np
import pytest

from advkit.errors import KitError


def fault(call, *arguments, **keywords):
    with pytest.raises(KitError) as caught:
        call(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def most_of_one_class(labels, window=50):
    """Of any so many images in a row: in a fair order about a tenth is of one class."""
    return max(np.bincount(labels[start : start + window]).max() for start in range(len(labels) - window + 1))


def as_set(x, y):
    return {(image.tobytes(), int(label)) for image, label in zip(x, y, strict=True)}


def to_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def to_tar(mode):
    def write(path, files):
        with tarfile.open(path, f"w:{mode}") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    return write


def to_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


PACKINGS = {
    "cifar": to_folder,
    "cifar.tar": to_tar(""),
    "cifar.tar.gz": to_tar("gz"),
    "cifar.tar.xz": to_tar("xz"),
    "cifar.zip": to_zip,
}


def pack_all(folder, files):
    for name, write in PACKINGS.items():
        write(folder / name, files)
        yield folder / name
