"""Reader of the PyTorch ports in .npy files: NumPy's object pickles, read without executing anything of them.

A pickle is a program. This one may only build dictionaries, texts, numbers and arrays of numbers: every opcode
is looked at before anything runs, and the few functions that such a pickle calls are stand-ins of our own.
"""

import mmap
import pickle
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from advkit.errors import KitError

Variables = dict[str, dict[str, NDArray[Any]]]

MOST_LAYERS, MOST_ARRAYS = 5000, 16
"""Layers of a file and arrays of a layer, far above what the ports have: a pickle may name one object many times."""

HEADER, LONGEST_HEADER = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }", 1024
LENGTH_OF = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}
"""Version of the .npy format -> bytes of the length of its header."""

NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")

OPCODES = frozenset(
    {"PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"}
    | {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
    | {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"}
    | {"EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"}
    | {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"}
)
"""What NumPy writes with the protocols 2 to 4; no opcode that makes an instance, a set or a persistent object."""

PUT, GET = ("BINPUT", "LONG_BINPUT", "MEMOIZE"), ("BINGET", "LONG_BINGET")

BROKEN = (pickle.UnpicklingError, ValueError, TypeError, LookupError, EOFError, AttributeError, OverflowError)
"""What unpickling raises where the pickle is no program, or one that calls things with what they do not take."""


class _RefusedError(Exception):
    """The pickle holds something that no port holds."""


@dataclass
class _Dtype:
    """Stands in for numpy.dtype."""

    code: str
    order: str = "="

    def __setstate__(self, state: Any) -> None:
        _demand(isinstance(state, tuple) and len(state) == 8 and state[2:5] == (None, None, None), "a structured dtype")
        _demand(state[1] in ("<", "|", "="), "another byte order")
        self.order = state[1]

    def real(self) -> np.dtype[Any]:
        """The dtype itself, of plain numbers."""
        _demand(self.code in NUMBERS, f"an array of dtype {self.code!r}")
        return np.dtype(f"{self.order}{self.code}")


@dataclass
class _Array:
    """Stands in for numpy.ndarray: the array, or for dtype object the one thing that it holds."""

    content: Any = None

    def __setstate__(self, state: Any) -> None:
        _demand(isinstance(state, tuple) and len(state) == 5, "an array without shape, dtype and data")
        _, shape, dtype, is_fortran, data = state
        _demand(isinstance(dtype, _Dtype) and isinstance(shape, tuple), "an array without shape and dtype")
        if dtype.code == "O8":
            _demand(shape == () and isinstance(data, list) and len(data) == 1, "an array of objects")
            _demand(isinstance(data[0], dict), "an array of objects")
            self.content = data[0]
        else:
            self.content = _numbers(shape, dtype, bool(is_fortran), data)


class _Function:
    """A function of NumPy that a pickle may call, or a class that it may name; neither can be changed."""

    __slots__ = ("_call",)
    _call: Any

    def __init__(self, call: Any) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise _RefusedError("an attribute of a function")

    def __setstate__(self, state: Any) -> NoReturn:
        raise _RefusedError("an attribute of a function")


def read_port(path: Path) -> Variables:
    """Layer -> name -> array of a port; arrays may share memory and cannot be written.

    Raises KitError for a file that is no such port: another header, other opcodes, functions or types than
    those of NumPy's arrays of numbers, an array whose shape does not fit its bytes, a file that ends early.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check_header(data)
            start = data.tell()
            _check_opcodes(data)
            data.seek(start)
            layers = _layers(_Unpickler(data).load())
            held = sum(array.nbytes for layer in layers.values() for array in layer.values())
            _demand(held <= len(data), "arrays that are larger than the file")
            return layers
    except OSError as error:
        raise KitError(f"{path}: cannot be read: {error.strerror}") from error
    except _RefusedError as error:
        raise KitError(f"{path}: not a port of TF-slim weights: it holds {error}; fetch the file again") from error
    except BROKEN as error:
        raise KitError(f"{path}: not a port of TF-slim weights, or cut short; fetch the file again") from error


def _check_header(file: Any) -> None:
    """The header must say, word for word as NumPy does: one object."""
    _demand(file.read(6) == b"\x93NUMPY", "no header of NumPy")
    length = int.from_bytes(file.read(LENGTH_OF.get(file.read(2), 0)), "little")
    _demand(file.read(min(length, LONGEST_HEADER)).split() == HEADER.split(), "another header than that of one object")


def _check_opcodes(file: mmap.mmap) -> None:
    """Every opcode is known, every key is a text, and no index of the memo is above the number of opcodes before it.

    Of tuples within tuples, which could be keys as well, the hash needs a stack and a time without limit.
    """
    machine = _Machine()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
        _demand(opcode.name in OPCODES, f"the opcode {opcode.name}")
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            _demand(isinstance(argument, int) and argument <= count, "a memo with gaps")
        machine.follow(opcode, argument)
    _demand(file.tell() == len(file), "bytes after its end")


@dataclass
class _Machine:
    """What an unpickler would hold: of each thing on its stack and in its memo only whether it is a text."""

    stack: list[bool] = field(default_factory=list)
    below: list[list[bool]] = field(default_factory=list)
    memo: dict[Any, bool] = field(default_factory=dict)

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        """What the opcode does. Raises LookupError where an unpickler would find its stack or memo too short."""
        if opcode.name == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif opcode.name in PUT:
            self.memo[len(self.memo) if opcode.name == "MEMOIZE" else argument] = self.stack[-1]
        elif opcode.name in GET:
            self.stack.append(self.memo[argument])
        else:
            taken = self._take(opcode.stack_before)
            _demand(opcode.name not in ("SETITEM", "SETITEMS") or all(taken[1::2]), "a name that is no text")
            self.stack += [kind is pickletools.pyunicode for kind in opcode.stack_after]

    def _take(self, kinds: list[pickletools.StackObject]) -> list[bool]:
        """The topmost things, and before them, where a mark is among their kinds, everything above the last one."""
        above: list[bool] = []
        if pickletools.markobject in kinds:
            above, self.stack = self.stack, self.below.pop()
            kinds = kinds[: kinds.index(pickletools.markobject)]
        return [self.stack.pop() for _ in kinds][::-1] + above


def _layers(loaded: Any) -> Variables:
    _demand(isinstance(loaded, _Array) and isinstance(loaded.content, dict), "no dictionary of layers")
    layers: Mapping[str, Any] = loaded.content
    _demand(len(layers) <= MOST_LAYERS, f"{len(layers)} layers")
    return {name: _arrays(layer) for name, layer in layers.items()}


def _arrays(layer: Any) -> dict[str, NDArray[Any]]:
    _demand(isinstance(layer, dict) and len(layer) <= MOST_ARRAYS, "a layer that is no small dictionary")
    return {name: _array(value) for name, value in layer.items()}


def _array(value: Any) -> NDArray[Any]:
    _demand(isinstance(value, _Array), "something else than arrays of numbers in a layer")
    _demand(isinstance(value.content, np.ndarray), "something else than arrays of numbers in a layer")
    return value.content  # type: ignore[no-any-return]


def _numbers(shape: tuple[Any, ...], dtype: _Dtype, is_fortran: bool, data: Any) -> NDArray[Any]:
    real = dtype.real()
    _demand(len(shape) <= 8, "an array of more than 8 sides")
    _demand(isinstance(data, bytes) and all(type(side) is int and side >= 0 for side in shape), "an array without data")
    _demand(len(data) == prod(shape) * real.itemsize, "an array whose shape does not fit its data")
    return np.frombuffer(data, real).reshape(shape, order="F" if is_fortran else "C")


def _reconstruct(subtype: Any, shape: Any, typecode: Any) -> _Array:
    """As NumPy calls it: an empty array, which the state that follows replaces."""
    _demand(subtype is _NDARRAY and shape == (0,), "an array that is built in another way than NumPy's")
    return _Array()


def _dtype(code: Any, align: Any = False, copy: Any = False) -> _Dtype:
    _demand(isinstance(code, str), "a structured dtype")
    return _Dtype(code)


def _scalar(dtype: Any, data: Any) -> _Array:
    _demand(isinstance(dtype, _Dtype), "a number without dtype")
    return _Array(_numbers((), dtype, False, data))


def _refuse_call(*arguments: Any) -> NoReturn:
    raise _RefusedError("an array that is built in another way than NumPy's")


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _RefusedError("".join(sign if sign.isprintable() else "?" for sign in otherwise[:200]))


_NDARRAY = _Function(_refuse_call)

ALLOWED: Mapping[tuple[str, str], _Function] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Function(_dtype),
    **{
        (f"numpy.{core}.multiarray", name): _Function(function)
        for core in ("core", "_core")
        for name, function in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
}
"""Everything that a pickle may name but `_codecs.encode`, and what stands in for it."""


class _Unpickler(pickle.Unpickler):
    """Finds what is in ALLOWED and nothing else; imports nothing."""

    def __init__(self, file: mmap.mmap) -> None:
        super().__init__(file)
        self._left = len(file)
        self._allowed = {**ALLOWED, ("_codecs", "encode"): _Function(self._encode)}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a function of NumPy."""
        _demand((module, name) in self._allowed, f"a call of {module}.{name}")
        return self._allowed[module, name]

    def _encode(self, text: Any, encoding: Any) -> bytes:
        """Protocol 2 has no bytes: they are written as text, each character one byte. All together fit the file."""
        _demand(isinstance(text, str) and encoding == "latin1", "another text than bytes of an array")
        self._left -= len(text)
        _demand(self._left >= 0, "one text again and again")
        return text.encode("latin1")  # type: ignore[no-any-return]
