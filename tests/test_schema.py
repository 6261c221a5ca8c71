"""What a stranger wrote is refused with one line for each fault, all of them at once, and never turned into something
else in silence: "16" is no number and `true` is no size."""

from typing import Annotated, Literal

import pytest
from helpers import LABELS
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from harness.errors import UserError
from harness.schema import SIZE_UNITS, Bytes, Schema, parse_size, validate


class Inner(Schema):
    depth: int = 0
    kind: Literal["wide", "narrow"] = "wide"


class Outer(Schema):
    size: Bytes = 0
    count: Annotated[int, Field(ge=1)]
    inner: Inner = Inner()
    choice: Literal["auto"] | int = "auto"


def faults(data):
    with pytest.raises(UserError) as caught:
        validate(Outer, data, "file.json")
    assert all(line.startswith("file.json: ") for line in caught.value.faults)
    return [line.removeprefix("file.json: ") for line in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4 GiB", 4 << 30),
        ("512MiB", 512 << 20),
        (" 1.5 kib ", 1536),
        ("1 GB", 10**9),
        ("10 mb", 10**7),
        ("7 B", 7),
        ("7", 7),
        ("0.1 GiB", 107374182),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@given(st.integers(0, 10**20), st.sampled_from(sorted(SIZE_UNITS)))
def test_sizes_are_exact(number, unit):
    assert parse_size(f"{number} {unit}") == number * SIZE_UNITS[unit]


@pytest.mark.parametrize("text", ["", "GiB", "four GiB", "-1 MiB", "1 TiB", "1 GiB 2", "1e9", "nan", "1,5 GiB"])
def test_what_is_no_size(text):
    assert faults({"count": 1, "size": text}) == [f"size: is a number of bytes, such as 512 MiB or 4 GiB; got {text!r}"]


def test_a_size_of_four_hundred_digits_is_a_size():
    assert validate(Outer, {"count": 1, "size": "9" * 400 + " GiB"}, "").size > 10**400


@pytest.mark.parametrize("value", [True, 1.5, None, [1]])
def test_a_size_of_another_type_is_refused(value):
    assert len(faults({"count": 1, "size": value})) == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_comes_gives_a_value_or_lines(data):
    try:
        found, lines = validate(Outer, data, "file"), []
    except UserError as error:
        found, lines = None, error.faults
    assert isinstance(found, Outer) is not bool(lines)
    assert all(line.startswith("file: ") and line.isprintable() for line in lines)


def test_every_fault_is_named_at_once():
    data = {"size": "big", "inner": {"dpth": 3, "kind": "wid"}, "choice": [], "colour": "red"}
    assert sorted(faults(data)) == [
        "choice: should be 'auto' or should be a valid integer; got []",
        "colour: unknown key; known keys: choice, count, inner, size",
        "count: required key is missing; add it",
        "inner.dpth: unknown key; did you mean depth?",
        "inner.kind: should be 'wide' or 'narrow'; got 'wid'; did you mean wide?",
        "size: is a number of bytes, such as 512 MiB or 4 GiB; got 'big'",
    ]


def test_a_fault_is_of_the_command_line_where_its_key_or_what_holds_it_is():
    data = {"count": "x", "size": "big", "inner": {"depth": "x", "kind": "wid"}}
    with pytest.raises(UserError) as caught:
        validate(Outer, data, "file", ["count", "inner.kind"])
    assert sorted(line.split(": ")[:2] for line in caught.value.faults) == [
        ["command line", "count"],
        ["command line", "inner.kind"],
        ["file", "inner.depth"],
        ["file", "size"],
    ]
    with pytest.raises(UserError) as caught:
        validate(Outer, data, "file", ["inner"])
    assert {line.split(": ")[1] for line in caught.value.faults if line.startswith("command line: ")} == {
        "inner.depth",
        "inner.kind",
    }


@pytest.mark.parametrize(
    ("data", "kind"),
    [(None, "nothing"), ([1], "a list"), ("x", "a str"), (3, "a int")],
    ids=["none", "list", "text", "int"],
)
def test_what_is_no_mapping(data, kind):
    (line,) = faults(data)
    assert line.startswith(f"holds {kind}, not a mapping")


def test_keys_that_are_no_text():
    assert faults({1: 2, "count": 1}) == ["1: Keys should be strings; got 1"]


def test_a_key_cannot_forge_lines_or_colours():
    (line,) = faults({"count": 1, "\x1b[2J\nharness: all is well": 1})
    assert line.isprintable()


def test_long_values_are_cut():
    (line,) = faults({"count": "x" * 1000})
    assert len(line) < 150


def test_values_are_frozen():
    with pytest.raises(ValidationError):
        LABELS.first = 0
