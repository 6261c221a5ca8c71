"""CIFAR-10 is the same data from a folder and from every kind of archive, whose names lead nowhere and whose content is
not trusted; what is no whole CIFAR-10 is named in one line, and a pickle is never opened."""

import hashlib
import io
import lzma
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from helpers import data_folder
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from training_files import PACKINGS, as_set, fault, most_of_one_class, pack_all, to_folder, to_tar, to_zip

from advkit.errors import KitError
from training.data import load, to_arrays
from training.data_files import BATCHES, CIFAR10_CLASSES, CIFAR10_SHAPE, SHUFFLE_SEED, read_cifar10

SIZES = (20, 10)
"""Of the small one here: two images of each class for training, one held out."""


def cifar10(seed=0):
    """Split -> (pixels, labels) of the small one."""
    generator = np.random.default_rng(seed)
    return {
        name: (generator.integers(0, 256, (size, *CIFAR10_SHAPE), dtype=np.uint8), generator.permutation(size) % 10)
        for name, size in zip(("train", "test"), SIZES, strict=True)
    }


def encoded(pixels, kind="PNG"):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()


def as_images(content, kind="PNG", suffix="png"):
    """Path -> bytes of a file."""
    return {
        f"{split}/{CIFAR10_CLASSES[label]}/{number:04d}.{suffix}": encoded(image, kind)
        for split, (x, y) in content.items()
        for number, (image, label) in enumerate(zip(x, y, strict=True))
    }


def as_batches(content):
    rows = {
        split: [bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(x, y, strict=True)]
        for split, (x, y) in content.items()
    }
    parts = [b"".join(rows["train"][4 * part : 4 * part + 4]) for part in range(5)] + [b"".join(rows["test"])]
    return dict(zip(BATCHES, parts, strict=True))


@pytest.mark.parametrize("form", [as_images, as_batches])
def test_cifar10_is_the_same_from_any_packing(tmp_path, form):
    content = cifar10()
    read = [read_cifar10(source, SIZES) for source in pack_all(tmp_path, form(content))]
    assert len(read) == len(PACKINGS)
    for splits in read:
        for (x, y), records, expected in zip(content.values(), splits, read[0], strict=True):
            assert as_set(x, y) == as_set(*to_arrays(records, CIFAR10_SHAPE))
            assert sorted(records) == sorted(expected)


def test_jpeg_files_have_the_order_of_their_bytes(tmp_path):
    """Another decoder may give other pixels: the same files are still held out, in the same order."""
    files = as_images(cifar10(), "JPEG", "jpg")
    to_folder(tmp_path, files)
    train, dev = read_cifar10(tmp_path, SIZES)
    key = SHUFFLE_SEED.to_bytes(8, "big")
    for split, records in (("train", train), ("test", dev)):
        stored = [content for name, content in files.items() if name.startswith(split)]
        in_order = sorted(stored, key=lambda data: hashlib.blake2b(data, digest_size=16, key=key).digest())
        decoded = [np.asarray(Image.open(io.BytesIO(data))) for data in in_order]
        assert np.array_equal(to_arrays(records, CIFAR10_SHAPE)[0], np.stack(decoded))


def test_folders_above_and_files_beside_are_passed_over(tmp_path):
    files = as_images(cifar10())
    beside = {
        "README": b"",
        "train/cat/._0000.png": b"\0",
        "cat.png": b"",
        "docs/cat/cat.png": b"",
        "labels.txt": b"cat",
    }
    (tmp_path / "plain").mkdir()
    to_folder(tmp_path / "plain", files)
    deep = {f"some/where/{name}": content for name, content in (files | beside).items()} | beside
    for source in pack_all(tmp_path, deep):
        assert sorted(read_cifar10(source, SIZES)[0]) == sorted(read_cifar10(tmp_path / "plain", SIZES)[0])


def test_names_in_an_archive_lead_nowhere(tmp_path):
    """Members are read and never written; a link in an archive is no file of it."""
    source = tmp_path / "inside" / "hostile.tar"
    source.parent.mkdir()
    files = {f"../{name}": content for name, content in as_images(cifar10()).items()}
    to_tar("")(source, files)
    with tarfile.open(source, "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("train/cat/9999.png")
            link.type, link.linkname = kind, sys.executable
            archive.addfile(link)
    assert [len(records) for records in read_cifar10(source, SIZES)] == [*SIZES]
    assert [path.name for path in tmp_path.rglob("*")] == ["inside", "hostile.tar"]


def without(files, name):
    return {key: content for key, content in files.items() if key != name}


IMAGES, BINARY = as_images(cifar10()), as_batches(cifar10())
FIRST = next(iter(IMAGES))
PICKLES = {name.removesuffix(".bin"): b"\x80\x02}" for name in BATCHES}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {f"cifar-10-batches-py/{name}": content for name, content in PICKLES.items()},
            "is a pickle, which can run code; take cifar-10-binary.tar.gz instead",
            id="pickles",
        ),
        pytest.param(IMAGES | {"batches.meta": b"\x80"}, "batches.meta is a pickle", id="one pickle"),
        pytest.param({"README": b""}, "holds no train images; expected train/CLASS/NAME.png", id="nothing"),
        pytest.param(without(IMAGES, FIRST), r"holds 1 train images of \w+; there must be 2 of each", id="one less"),
        pytest.param(IMAGES | {"test/cat/x.png": IMAGES[FIRST]}, "holds 2 test images of cat; .* 1 of", id="one more"),
        pytest.param(IMAGES | BINARY, "holds 4 train images of airplane", id="both forms"),
        pytest.param(IMAGES | {"train/fish/0.png": b""}, "train/fish/0.png: fish is no class of CIFAR-10", id="class"),
        pytest.param(IMAGES | {FIRST: b"GIF89a"}, f"{FIRST}: not a readable JPEG or PNG", id="no image"),
        pytest.param(IMAGES | {FIRST: IMAGES[FIRST][:500]}, f"{FIRST}: not a readable JPEG or PNG", id="cut image"),
        pytest.param(
            IMAGES | {FIRST: encoded(np.zeros((32, 28, 3), np.uint8))}, "has 28x32 pixels instead of 32x32", id="size"
        ),
        pytest.param(IMAGES | {FIRST: bytes((1 << 20) + 1)}, "which no image of 32x32 needs", id="large image"),
        pytest.param(BINARY | {"test_batch.bin": b""}, "test_batch.bin: has 0 bytes", id="empty batch"),
        pytest.param(BINARY | {"test_batch.bin": bytes(3072)}, "test_batch.bin: has 3072 bytes", id="cut batch"),
        pytest.param(BINARY | {"test_batch.bin": b"\x0a" + bytes(3072)}, "holds the label 10", id="label"),
    ],
)
@pytest.mark.parametrize("packing", ["cifar", "cifar.tar.gz", "cifar.zip"])
def test_what_is_no_cifar10_is_named(tmp_path, packing, files, expected):
    source = tmp_path / packing
    PACKINGS[packing](source, files)
    with pytest.raises(KitError, match=expected) as caught:
        read_cifar10(source, SIZES)
    assert str(caught.value).startswith(f"{source}: ")


def test_a_header_that_claims_a_huge_image_is_not_believed(tmp_path):
    huge = bytearray(IMAGES[FIRST])
    huge[16:24] = (100_000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    to_folder(tmp_path, IMAGES | {FIRST: bytes(huge)})
    assert f"{FIRST}: not a readable JPEG or PNG" in fault(read_cifar10, tmp_path, SIZES)


@pytest.mark.parametrize("packing", ["cifar.tar", "cifar.tar.gz", "cifar.tar.xz", "cifar.zip"])
@given(share=st.floats(0, 0.95))
def test_an_archive_that_is_cut_is_never_read(tmp_path_factory, packing, share):
    whole, source = tmp_path_factory.getbasetemp() / f"whole.{packing}", tmp_path_factory.getbasetemp() / packing
    if not whole.exists():
        PACKINGS[packing](whole, BINARY)
    source.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    assert str(source) in fault(read_cifar10, source, SIZES)


def test_a_zip_with_a_password(tmp_path):
    source = tmp_path / "cifar.zip"
    to_zip(source, BINARY)
    with zipfile.ZipFile(source) as archive:
        places = [info.header_offset + 6 for info in archive.infolist()]
        directory = archive.start_dir
    content = bytearray(source.read_bytes())
    while content[directory : directory + 4] == b"PK\1\2":
        places.append(directory + 8)
        lengths = [int.from_bytes(content[directory + at : directory + at + 2], "little") for at in (28, 30, 32)]
        directory += 46 + sum(lengths)
    for place in places:
        content[place] |= 1
    source.write_bytes(content)
    assert "password required" in fault(read_cifar10, source, SIZES)


@pytest.mark.parametrize("content", [b"", b"not an archive at all" * 100, lzma.compress(b"no tar"), None])
def test_what_is_no_archive(tmp_path, content):
    source = tmp_path / "cifar.tar.xz"
    if content is not None:
        source.write_bytes(content)
    message = fault(read_cifar10, source, SIZES)
    assert message.startswith(f"{source}: cannot be read (") or "holds no train images" in message


def test_the_small_one_is_not_taken_for_cifar10(tmp_path):
    to_folder(tmp_path, IMAGES)
    assert "there must be 5000 of each class" in fault(load, "cifar10", tmp_path)


def test_what_is_in_the_cache_is_read_without_the_loader(tmp_path, monkeypatch):
    """And is checked as any other source is."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    (tmp_path / "cifar10").mkdir()
    to_tar("gz")(tmp_path / "cifar10" / "cifar-10-binary.tar.gz", BINARY)
    assert "there must be 5000 of each class" in fault(load, "cifar10")


@pytest.mark.slow
def test_the_real_cifar10():
    source = data_folder(".") / "cifar10-jpeg.tar.xz"
    if not source.exists():
        pytest.skip(f"no test data at {source}: set HARNESS_TEST_DATA to its folder")
    data = load("cifar10", source)
    assert (data.train_x.shape, data.dev_x.shape) == ((50_000, *CIFAR10_SHAPE), (10_000, *CIFAR10_SHAPE))
    assert np.bincount(data.train_y).tolist() == [5000] * 10
    assert np.bincount(data.dev_y).tolist() == [1000] * 10
    assert max(most_of_one_class(data.train_y), most_of_one_class(data.dev_y)) <= 22
    with tarfile.open(source, "r|*") as archive:
        first = next(info for info in archive if info.isreg())
        pixels = np.asarray(Image.open(archive.extractfile(first)).convert("RGB"))
    split, name, _ = first.name.split("/")
    x, y = (data.dev_x, data.dev_y) if split == "test" else (data.train_x, data.train_y)
    (place,) = np.flatnonzero((x == pixels).all(axis=(1, 2, 3)))
    assert CIFAR10_CLASSES[y[place]] == name
