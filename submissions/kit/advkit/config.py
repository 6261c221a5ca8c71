"""A submission's own `config.yaml`, checked against the dataclass that uses it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import Parameter, signature
from math import inf
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import yaml

from advkit.errors import KitError

Kind = TypeVar("Kind")
Value = TypeVar("Value")
Expectation = tuple[str, Callable[[Any], bool]]


@dataclass(frozen=True)
class Range:
    """What a number may be, both ends included, as in `Annotated[float, Range(0, 1)]`; without it: above 0."""

    lowest: float
    highest: float = inf

    def __contains__(self, value: float) -> bool:
        return self.lowest <= value <= self.highest

    def __str__(self) -> str:
        return f"of at least {self.lowest:g}" if self.highest == inf else f"from {self.lowest:g} to {self.highest:g}"


# Annotation of a parameter -> what it stands for in a message, and whether a value is one.
KINDS: Mapping[object, Expectation] = {
    int: ("a positive integer", lambda value: _is_integer(value) and value > 0),
    float: ("a positive number", lambda value: _is_number(value) and value > 0),
    bool: ("true or false", lambda value: type(value) is bool),
    str: ("text", lambda value: type(value) is str),
    dict[str, Any]: ("a mapping", lambda value: isinstance(value, dict)),
    list[float]: (
        "a list of positive numbers",
        lambda value: isinstance(value, list) and bool(value) and all(_is_number(item) and item > 0 for item in value),
    ),
    list[str]: ("a list of names", lambda value: _is_list_of(str, value)),
    list[dict[str, Any]]: ("a list of mappings", lambda value: _is_list_of(dict, value)),
    list[list[dict[str, Any]]]: (
        "a list of lists of mappings",
        lambda value: _is_list_of(list, value) and all(not inner or _is_list_of(dict, inner) for inner in value),
    ),
    str | list[str] | dict[str, float]: (
        "a name, a list of names, or positive numbers by name",
        lambda value: type(value) is str or _is_list_of(str, value) or _is_positive_by_name(value),
    ),
}


def read_config(path: Path, kind: type[Kind]) -> Kind:
    """The file as an instance of the dataclass `kind`: one key a field, defaults where a key is absent.

    Raises KitError as `check_arguments` does.
    """
    values = _read_mapping(path)
    check_arguments(str(path), values, parameters_of(kind))
    return kind(**values)


def parameters_of(function: Callable[..., Any]) -> dict[str, Parameter]:
    """Name -> parameter, with its annotation, of a function or a dataclass."""
    return dict(signature(function, eval_str=True).parameters)


def check_arguments(where: str, values: Mapping[Any, Any], parameters: Mapping[str, Parameter]) -> None:
    """Raise KitError unless `values` fit the parameters, whose annotations are among KINDS or numbers in a Range.

    It names `where` and the key, for an unknown or missing key, a value of another type than annotated, a
    number outside its range, and an empty list.
    """
    for key, value in values.items():
        expected, is_valid = _expectation(pick(parameters, key, f"{where}: key").annotation)
        if not is_valid(value):
            raise KitError(f"{where}: {key}: expected {expected}, found {value!r}")
    required = [name for name, parameter in parameters.items() if parameter.default is Parameter.empty]
    if missing := [name for name in required if name not in values]:
        raise KitError(f"{where}: missing: {', '.join(missing)}")


def choose(
    choices: Mapping[str, Callable[..., Any]], description: Mapping[str, Any], what: str, given: Collection[str]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function whose `name` a description holds, and the rest of it as arguments.

    given: parameters that the caller fills in. Raises KitError for an unknown name, and as `check_arguments` does.
    """
    arguments = dict(description)
    name = str(arguments.pop("name", ""))
    function = pick(choices, name, what)
    parameters = {key: value for key, value in parameters_of(function).items() if key not in given}
    check_arguments(f"{what} {name}", arguments, parameters)
    return function, arguments


def pick(choices: Mapping[str, Value], name: str, what: str) -> Value:
    """choices[name]; where there is none, raise KitError with the likeliest correction, or all choices."""
    if name in choices:
        return choices[name]
    likely = get_close_matches(str(name), choices, n=1)
    hint = f"did you mean {likely[0]}?" if likely else f"there is {', '.join(choices)}"
    raise KitError(f"{what} {name!r} is unknown: {hint}")


def _read_mapping(path: Path) -> dict[Any, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KitError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text, a date that is none
        raise KitError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise KitError(f"{path}: expected lines KEY: VALUE")
    return values


def _expectation(annotation: Any) -> Expectation:
    if get_origin(annotation) is not Annotated:
        return KINDS[annotation]
    kind, limits = get_args(annotation)
    noun, is_kind = {int: ("an integer", _is_integer), float: ("a number", _is_number)}[kind]
    return f"{noun} {limits}", lambda value: is_kind(value) and value in limits


def _is_integer(value: object) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -inf < value < inf


def _is_list_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)


def _is_positive_by_name(value: object) -> bool:
    if not isinstance(value, dict) or not value:
        return False
    return all(type(name) is str and _is_number(number) and number > 0 for name, number in value.items())
