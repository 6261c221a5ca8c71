"""A submission's own `config.yaml`, checked against the dataclass that uses it."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, TypeVar

import yaml

from advkit.errors import KitError

Kind = TypeVar("Kind")
Value = TypeVar("Value")

# Annotation of a parameter -> what it stands for in a message, and whether a value is one.
KINDS: Mapping[object, tuple[str, Callable[[Any], bool]]] = {
    int: ("a positive integer", lambda value: type(value) is int and value > 0),
    float: ("a positive number", lambda value: type(value) in (int, float) and value > 0),
    bool: ("true or false", lambda value: type(value) is bool),
    str: ("text", lambda value: type(value) is str),
    list[str]: ("a list of names", lambda value: _is_list_of(str, value)),
    list[dict[str, Any]]: ("a list of mappings", lambda value: _is_list_of(dict, value)),
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
    """Raise KitError unless `values` fit the parameters, whose annotations are among KINDS.

    It names `where` and the key, for an unknown or missing key, a value of another type than annotated, a
    number that is not positive, and an empty list.
    """
    for key, value in values.items():
        expected, is_valid = KINDS[pick(parameters, key, f"{where}: key").annotation]
        if not is_valid(value):
            raise KitError(f"{where}: {key}: expected {expected}, found {value!r}")
    required = [name for name, parameter in parameters.items() if parameter.default is Parameter.empty]
    if missing := [name for name in required if name not in values]:
        raise KitError(f"{where}: missing: {', '.join(missing)}")


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KitError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise KitError(f"{path}: expected lines KEY: VALUE")
    return values


def _is_list_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)
