"""A .npy port is a pickle, and a pickle is a program: nothing of it is ever executed, and one line says no."""

import os
import pickle
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weights_files import write_pickle, write_port

from advkit.errors import KitError
from advkit.weights.npy import read_port

LAYERS = {
    "InceptionV3/InceptionV3/Conv2d_1a_3x3/Conv2D": {
        "weights": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7
    },
    "InceptionV3/InceptionV3/Conv2d_1a_3x3/BatchNorm/FusedBatchNorm": {
        "mean": np.array([1e-30, -5.0], np.float32),
        "var": np.array([0.5, 255.0], np.float32),
    },
    "constant": {"value": np.float32(0.17)},
}


def assert_same(found, expected):
    assert {name: set(layer) for name, layer in found.items()} == {name: set(layer) for name, layer in expected.items()}
    for name, layer in expected.items():
        for key, array in layer.items():
            np.testing.assert_array_equal(found[name][key], array, strict=True)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_come_out_as_they_went_in(tmp_path, protocol):
    assert_same(
        read_port(write_port(tmp_path / "port.npy", LAYERS, protocol)),
        LAYERS | {"constant": {"value": np.array(0.17, np.float32)}},
    )


def test_what_numpy_writes_today_is_read(tmp_path):
    layers = {"layer": {"fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "half": np.array([1, 2], "f2")}}
    np.save(tmp_path / "port.npy", np.array(layers, dtype=object), allow_pickle=True)
    found = read_port(tmp_path / "port.npy")["layer"]
    np.testing.assert_array_equal(found["fortran"], np.arange(6.0).reshape(2, 3), strict=True)
    np.testing.assert_array_equal(found["half"], np.array([1, 2], np.float16), strict=True)


class Calls:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def in_port(thing):
    """Where an array belongs."""
    return np.array({"layer": {"weights": thing}}, dtype=object)


def gadgets(marker):
    touch = f"touch {marker}"
    code = f"__import__('os').system({touch!r})"
    return {
        "os.system": Calls(os.system, touch),
        "os.system in a layer": in_port(Calls(os.system, touch)),
        "eval": in_port(Calls(eval, code)),
        "exec": in_port(Calls(exec, code)),
        "getattr": in_port(Calls(getattr, "text", "upper")),
        "numpy.load": in_port(Calls(np.load, "/etc/passwd", None, True)),
        "numpy.fromfile": in_port(Calls(np.fromfile, "/etc/passwd", np.dtype("u1"))),
        "numpy.ndarray": in_port(Calls(np.ndarray, (1 << 40,), np.dtype("f4"))),
        "bytearray": in_port(bytearray(8)),
        "a set": in_port({1, 2}),
        "an object of a class": in_port(pickle.PickleError()),
    }


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", gadgets(""))
def test_nothing_is_executed(tmp_path, name, protocol):
    marker = tmp_path / "executed"
    path = write_pickle(tmp_path / "port.npy", pickle.dumps(gadgets(marker)[name], protocol))
    with pytest.raises(KitError, match="not a port"):
        read_port(path)
    assert not marker.exists()


NESTED = np.array([np.zeros(2, np.float32), "text"], dtype=object)
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"


def state(shape, code, data):
    """Opcodes of the state of an array."""
    dtype = (
        b"cnumpy\ndtype\n(X"
        + struct.pack("<I", len(code))
        + code
        + b"K\x00K\x01tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    return b"(K\x01" + shape + dtype + b"\x89" + data + b"tb"


def object_state(content):
    return state(b")", b"O8", b"]" + content + b"a")


HUGE_SIDE = b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85"
NEGATIVE_SIDE = b"J\xff\xff\xff\xff\x85"
HUGE_ARRAY = RECONSTRUCT.replace(b"K\x00\x85", HUGE_SIDE)
SCALAR = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\x00\x00\x00O8tRC\x08abcdefghtR"
BZIP = b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00bz2\x86R"
TOWER = b")" + b"\x85" * 300_000
BRANCHES = b")q\x00" + b"h\x00h\x00\x86q\x00" * 60
"""Tuples within tuples: hashing the first needs a stack, hashing the second a time, that nobody has."""
SLOT = b"}X\x05\x00\x00\x00_callNs"

WRONG = {
    "arrays of objects": (pickle.dumps(in_port(NESTED), 2), "an array of objects"),
    "an array of texts": (pickle.dumps(in_port(np.array(["text"])), 2), "dtype 'U4'"),
    "an array of dates": (pickle.dumps(in_port(np.array(["2017-08-18"], "M8[D]")), 2), "a structured dtype"),
    "a structured array": (pickle.dumps(in_port(np.zeros(2, [("a", "f4")])), 2), "a structured dtype"),
    "another byte order": (pickle.dumps(in_port(np.zeros(2, ">f4")), 2), "another byte order"),
    "a number": (pickle.dumps(in_port(3), 2), "something else than arrays"),
    "a text": (pickle.dumps(in_port("text"), 2), "something else than arrays"),
    "a deeper dictionary": (pickle.dumps(in_port({"a": np.zeros(1)}), 2), "something else than arrays"),
    "an array for a layer": (pickle.dumps(np.array({"layer": np.zeros(2)}, dtype=object), 2), "no small dictionary"),
    "a number for a name": (pickle.dumps(np.array({3: {"a": np.zeros(2)}}, dtype=object), 2), "a name that is no text"),
    "no dictionary": (pickle.dumps(np.array([1, 2], dtype=object), 2), "an array of objects"),
    "an array of numbers alone": (pickle.dumps(np.zeros(3), 2), "no dictionary"),
    "a dictionary alone": (pickle.dumps({"layer": {"weights": np.zeros(2)}}, 2), "no dictionary"),
    "bytes after its end": (pickle.dumps(np.array(LAYERS, dtype=object), 2) + b"N.", "bytes after its end"),
    "nothing": (b"", "cut short"),
    "a text protocol": (pickle.dumps(np.array(LAYERS, dtype=object), 0), "the opcode PUT"),
    "a persistent object": (b"\x80\x02Pname\n.", "the opcode PERSID"),
    "an instance of a class": (b"\x80\x02(ios\nsystem\n.", "the opcode INST"),
    "an extension": (b"\x80\x02\x82\x01.", "the opcode EXT1"),
    "a huge memo": (b"\x80\x02Nr" + struct.pack("<I", 0xFFFFFFFF) + b".", "a memo with gaps"),
    "bytes longer than the file": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.", "cut short"),
    "a frame longer than the file": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.", "cut short"),
    "a huge empty array": (b"\x80\x03" + HUGE_ARRAY + b".", "built in another way"),
    "a shape above its data": (
        b"\x80\x03" + RECONSTRUCT + state(HUGE_SIDE, b"f4", b"C\x04abcd") + b".",
        "does not fit",
    ),
    "a negative side": (b"\x80\x03" + RECONSTRUCT + state(NEGATIVE_SIDE, b"f4", b"C\x04abcd") + b".", "without data"),
    "a changed function": (b"\x80\x03cnumpy\ndtype\n" + SLOT + b"b.", "an attribute of a function"),
    "slots of a function": (b"\x80\x03cnumpy\ndtype\nN" + SLOT + b"\x86b.", "an attribute of a function"),
    "a call of the class": (b"\x80\x03cnumpy\nndarray\n)R.", "built in another way"),
    "an object as a number": (b"\x80\x03" + SCALAR + b".", "dtype 'O8'"),
    "a builtin": (b"\x80\x03c__builtin__\neval\nX\x01\x00\x00\x001\x85R.", "a call of __builtin__.eval"),
    "a way through a module": (b"\x80\x04\x8c\x05numpy\x8c\x0bos.path.sep\x93.", "a call of numpy.os.path.sep"),
    "another codec": (b"\x80\x02" + BZIP + b".", "another text than bytes"),
    "a tower as a key": (b"\x80\x03}" + TOWER + b"Ns.", "a name that is no text"),
    "a tower among keys": (b"\x80\x03}(X\x01\x00\x00\x00aN" + TOWER + b"Nu.", "a name that is no text"),
    "branches as a key": (b"\x80\x03" + BRANCHES + b"}h\x00Ns.", "a name that is no text"),
    "branches as a key, once memorised": (b"\x80\x04" + BRANCHES + b"\x94}h\x01Ns.", "a name that is no text"),
    "a function as a key": (b"\x80\x03}cnumpy\ndtype\nNs.", "a name that is no text"),
    "bytes as a key": (b"\x80\x03}C\x01aNs.", "a name that is no text"),
    "a value without a key": (b"\x80\x03}(X\x01\x00\x00\x00aNX\x01\x00\x00\x00bu.", "cut short"),
    "a key below the mark": (b"\x80\x03}X\x01\x00\x00\x00a(Ns.", "cut short"),
    "a frozen set": (b"\x80\x04}(\x91Ns.", "the opcode FROZENSET"),
    "a set": (b"\x80\x04\x8f.", "the opcode EMPTY_SET"),
    "a tower as a shape": (b"\x80\x03" + RECONSTRUCT + state(TOWER, b"f4", b"C\x04abcd") + b".", "without data"),
    "a shape of nine sides": (
        b"\x80\x03" + RECONSTRUCT + state(b"(" + b"K\x01" * 9 + b"t", b"f4", b"C\x04abcd") + b".",
        "more than 8 sides",
    ),
    "a name with control characters": (b"\x80\x03cnumpy\x1b[2J\nload\n.", r"a call of numpy\?\[2J.load"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_port_holds_is_refused(tmp_path, name):
    content, reason = WRONG[name]
    with pytest.raises(KitError, match=f"not a port.*{reason}") as caught:
        read_port(write_pickle(tmp_path / "port.npy", content))
    assert str(caught.value).isprintable()


def test_the_opcodes_above_are_not_refused_for_being_wrong_themselves(tmp_path):
    array = RECONSTRUCT + state(b"K\x01\x85", b"f4", b"C\x04\x00\x00\x80?")
    layers = b"}X\x01\x00\x00\x00a}X\x01\x00\x00\x00b" + array + b"ss"
    whole = b"\x80\x03" + RECONSTRUCT + object_state(layers) + b"."
    assert_same(read_port(write_pickle(tmp_path / "port.npy", whole)), {"a": {"b": np.ones(1, np.float32)}})


def test_one_object_many_times_is_no_amplifier(tmp_path):
    """A pickle may name one object often, for two bytes each time: what comes out must not be larger for it."""
    layer = {str(number): np.zeros(1, np.float32) for number in range(17)}
    one = np.zeros(1000, np.float32)
    for layers, reason in (
        ({"layer": layer}, "no small dictionary"),
        ({str(number): LAYERS["constant"] for number in range(5001)}, "5001 layers"),
        ({str(number): {"weights": one} for number in range(3)}, "larger than the file"),
    ):
        with pytest.raises(KitError, match=reason):
            read_port(write_port(tmp_path / "port.npy", layers, 4))
    text = b"X" + struct.pack("<I", 1000) + b"x" * 1000
    again = b"c_codecs\nencode\nq\x00" + text + b"q\x01" + b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R" * 9 + b"."
    with pytest.raises(KitError, match="one text again and again"):
        read_port(write_pickle(tmp_path / "port.npy", b"\x80\x02" + again))


@pytest.mark.parametrize(
    "header",
    [
        {"descr": "<f4", "fortran_order": False, "shape": (2,)},
        {"descr": "|O", "fortran_order": False, "shape": (2,)},
        {"descr": [("a", "<f4")], "fortran_order": False, "shape": ()},
    ],
    ids=["numbers", "several objects", "structured"],
)
def test_another_header_is_refused(tmp_path, header):
    path = tmp_path / "port.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(np.array(LAYERS, dtype=object), file, protocol=2)
    with pytest.raises(KitError, match="not a port"):
        read_port(path)


def test_a_header_is_no_program(tmp_path):
    marker = tmp_path / "executed"
    text = f"{{'descr': __import__('os').system('touch {marker}'), 'fortran_order': False, 'shape': ()}}\n".encode()
    path = tmp_path / "port.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
    with pytest.raises(KitError, match="not a port"):
        read_port(path)
    assert not marker.exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(KitError, match="cannot be read"):
        read_port(tmp_path / "port.npy")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Where a file is written again and again, and the bytes of a right one for each protocol."""
    folder = tmp_path_factory.mktemp("ports")
    return folder / "changed.npy", [
        write_port(folder / f"{protocol}.npy", LAYERS, protocol).read_bytes() for protocol in (2, 3, 4)
    ]


@given(data=st.data())
def test_a_file_that_ends_early_is_refused(whole, data):
    path, files = whole
    content = data.draw(st.sampled_from(files))
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(KitError, match="not a port"):
        read_port(path)


@given(data=st.data())
def test_a_changed_byte_gives_arrays_or_one_line(whole, data):
    path, files = whole
    content = bytearray(data.draw(st.sampled_from(files)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with suppress(KitError):
        layers = read_port(path)
        assert all(
            isinstance(array, np.ndarray) and array.dtype.kind in "fiu"
            for layer in layers.values()
            for array in layer.values()
        )


@given(program=st.binary(max_size=60))
def test_any_program_gives_one_line(whole, program):
    path, _ = whole
    with pytest.raises(KitError, match="not a port"):
        read_port(write_pickle(path, b"\x80\x04" + program))
