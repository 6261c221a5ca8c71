"""Downloads of MNIST and CIFAR-10, by the loader of the published weights: resumed, and read by nobody unchecked."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from advkit.errors import KitError
from advkit.weights.fetch import Download, Patience
from advkit.weights.files import one_line
from advkit.weights.progress import shown

README = """This folder belongs to adversarial-harness: data sets as they were published. NAME.part is a download that
goes on where it was stopped. Whatever is removed here comes back when it is needed.
"""


MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
CIFAR10 = "https://www.cs.toronto.edu/~kriz"


@dataclass(frozen=True)
class Published:
    """A file of a data set; `size` in bytes."""

    url: str
    size: int
    sha256: str


# Sizes and digests as TensorFlow Datasets has them in url_checksums/mnist.txt and url_checksums/cifar10.txt.
PUBLISHED = {
    file.url.rpartition("/")[2]: file
    for file in (
        Published(
            f"{MNIST}/train-images-idx3-ubyte.gz",
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        Published(
            f"{MNIST}/train-labels-idx1-ubyte.gz",
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        Published(
            f"{MNIST}/t10k-images-idx3-ubyte.gz",
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        Published(
            f"{MNIST}/t10k-labels-idx1-ubyte.gz",
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        Published(
            f"{CIFAR10}/cifar-10-binary.tar.gz",
            170052171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    )
}


def fetch(name: str, folder: Path, patience: Patience | None = None) -> Path:
    """The file of that name of PUBLISHED, in the folder, downloaded where it is missing; there it is whole or absent.

    Raises KitError where it cannot be had or written, has another size or digest, or another process fetches it.
    """
    path = folder / name
    download = _DataDownload(folder, name, PUBLISHED[name], patience or Patience())
    _make(folder)
    with download.locked():
        if not path.is_file():
            with shown(name) as report:
                download.run(report)
            download.check(None)
            _take(download.part, path)
            download.remove()
    return path


@dataclass
class _DataDownload(Download):
    """A download that says, when the host fails, where its file can be put by hand."""

    source: Published

    def how_else(self, reason: str) -> str:
        url, nothing = self.source.url, f"nothing from {urlsplit(self.source.url).netloc} ({reason})"
        return f"{self.name}: {nothing}; download {url} elsewhere and put it into {self.folder}"


def _make(folder: Path) -> None:
    """The folder with a README of its own, before the loader writes that of the weights."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README").write_text(README)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _take(part: Path, path: Path) -> None:
    """A copy, then a rename: the part stays what its lock is on."""
    whole = path.with_name(f".{path.name}")
    try:
        shutil.copyfile(part, whole)
        whole.replace(path)
    except OSError as error:
        whole.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> KitError:
    return KitError(f"{path}: cannot be written ({one_line(error.strerror)}); make room, or set HARNESS_DATA")
