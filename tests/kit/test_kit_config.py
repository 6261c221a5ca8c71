"""Every fault of a config.yaml is one line that names file and key; nothing is guessed and nothing ignored."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advkit.config import Range, check_arguments, parameters_of, read_config
from advkit.errors import KitError
from advkit.transforms import make_transforms


@dataclass(frozen=True)
class Config:
    surrogates: list[str]
    steps: int
    relative_step_size: float = 0.5
    random_start: bool = False
    decay: Annotated[float, Range(0)] = 1.0
    probability: Annotated[float, Range(0, 1)] = 0.5
    bits: Annotated[int, Range(1, 8)] = 8


@dataclass(frozen=True)
class Nested:
    networks: str | list[str] | dict[str, float] = "a"
    vote: list[list[dict[str, Any]]] = field(default_factory=lambda: [[]])


def read(folder, text, kind=Config):
    (folder / "config.yaml").write_text(text)
    return read_config(folder / "config.yaml", kind)


def test_defaults_fill_what_is_absent(tmp_path):
    assert read(tmp_path, "surrogates: [a, b]\nsteps: 3") == Config(["a", "b"], 3, 0.5, False, 1.0, 0.5, 8)


def test_an_integer_is_a_number(tmp_path):
    assert read(tmp_path, "{surrogates: [a], steps: 3, relative_step_size: 1}").relative_step_size == 1


@pytest.mark.parametrize("line", ["decay: 0", "decay: 7.5", "probability: 0", "probability: 1", "bits: 1", "bits: 8"])
def test_both_ends_of_a_range_are_in_it(tmp_path, line):
    key, value = line.split(": ")
    assert getattr(read(tmp_path, f"surrogates: [a]\nsteps: 3\n{line}"), key) == float(value)


@pytest.mark.parametrize("networks", ["a", ["a", "b"], {"a": 1, "b": 0.5}])
@pytest.mark.parametrize("vote", [[[]], [[], [{"name": "jpeg"}]], [[{"name": "jpeg"}, {"name": "median"}]]])
def test_a_nested_value_is_taken_as_it_is(tmp_path, networks, vote):
    assert read(tmp_path, f"networks: {networks}\nvote: {vote}", Nested) == Nested(networks, vote)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{surrogates: [a], step: 3}", "key 'step' is unknown: did you mean steps"),
        ("{surrogates: [a]}", "missing: steps"),
        ("{surrogates: [a], steps: ten}", "steps: expected a positive integer, found 'ten'"),
        ("{surrogates: [a], steps: true}", "steps: expected a positive integer, found True"),
        ("{surrogates: [a], steps: 0}", "steps: expected a positive integer, found 0"),
        ("{surrogates: [a], steps: 1.5}", "steps: expected a positive integer, found 1.5"),
        ("{surrogates: [], steps: 1}", "surrogates: expected a list of names"),
        ("{surrogates: a, steps: 1}", "surrogates: expected a list of names, found 'a'"),
        ("{surrogates: [a], steps: 1, random_start: 1}", "random_start: expected true or false, found 1"),
        ("{surrogates: [a], steps: 1, relative_step_size: -1}", "expected a positive number, found -1"),
        ("{surrogates: [a], steps: 1, relative_step_size: .inf}", "expected a positive number, found inf"),
        ("{surrogates: [a], steps: 1, relative_step_size: .nan}", "expected a positive number, found nan"),
        ("{surrogates: [a], steps: 1, decay: -0.1}", "decay: expected a number of at least 0, found -0.1"),
        ("{surrogates: [a], steps: 1, decay: .inf}", "decay: expected a number of at least 0, found inf"),
        ("{surrogates: [a], steps: 1, decay: false}", "decay: expected a number of at least 0, found False"),
        ("{surrogates: [a], steps: 1, probability: 1.5}", "expected a number from 0 to 1, found 1.5"),
        ("{surrogates: [a], steps: 1, probability: .nan}", "expected a number from 0 to 1, found nan"),
        ("{surrogates: [a], steps: 1, probability: half}", "expected a number from 0 to 1, found 'half'"),
        ("{surrogates: [a], steps: 1, bits: 9}", "bits: expected an integer from 1 to 8, found 9"),
        ("{surrogates: [a], steps: 1, bits: 2.0}", r"bits: expected an integer from 1 to 8, found 2\.0"),
        ("surrogates: [a", "not YAML"),
        ("steps: 2001-99-99", "not YAML"),
        ("", "expected lines KEY: VALUE"),
    ],
)
def test_a_fault_names_file_and_key(tmp_path, text, message):
    with pytest.raises(KitError, match=rf"config\.yaml: .*{message}") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "networks: []",
        "networks: [1]",
        "networks: {}",
        "networks: {a: 0}",
        "networks: {a: true}",
        "networks: {1: 1}",
        "networks: 7",
        "vote: []",
        "vote: [{name: jpeg}]",
        "vote: [[jpeg]]",
    ],
)
def test_a_nested_value_is_checked_to_its_bottom(tmp_path, text):
    key = text.partition(":")[0]
    with pytest.raises(KitError, match=rf"config\.yaml: {key}: expected a"):
        read(tmp_path, text, Nested)


@given(st.floats(), st.floats(-10, 10), st.floats(0, 10))
def test_a_range_takes_exactly_its_numbers(value, lowest, length):
    def function(number: Annotated[float, Range(lowest, lowest + length)]) -> None:
        """Only its annotation matters."""

    try:
        check_arguments("here", {"number": value}, parameters_of(function))
    except KitError:
        assert not lowest <= value <= lowest + length
    else:
        assert lowest <= value <= lowest + length


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KitError, match=r"config\.yaml: cannot be read"):
        read_config(tmp_path / "config.yaml", Config)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"name": "jepg", "quality": 75}, "transform 'jepg' is unknown: did you mean jpeg"),
        ({"quality": 75}, "transform '' is unknown: there is jpeg"),
        ({"name": "jpeg"}, "transform jpeg: missing: quality"),
        ({"name": "jpeg", "quality": "high"}, "transform jpeg: quality: expected an integer from 1 to 95"),
        ({"name": "jpeg", "quality": 96}, "transform jpeg: quality: expected an integer from 1 to 95, found 96"),
        ({"name": "jpeg", "quality": 75, "pixels": 1}, "transform jpeg: key 'pixels' is unknown"),
        ({"name": "random_flip", "generators": 1}, "transform random_flip: key 'generators' is unknown"),
        ({"name": "gaussian", "sigma": 0}, "transform gaussian: sigma: expected a positive number, found 0"),
    ],
)
def test_a_fault_of_a_transform_names_it(description, message):
    with pytest.raises(KitError, match=message):
        make_transforms([description])
