"""Turning a stranger's YAML or JSON into a frozen value, with every fault of it reported at once."""

import difflib
import re
import reprlib
from collections.abc import Collection
from decimal import Decimal
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from harness.errors import UserError

MAX_FAULTS = 20
MAX_SHOWN = 60
"""Most that is said about one file, and most that is repeated of one of its keys or values."""

SIZE_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


class Schema(BaseModel):
    """A frozen value that refuses unknown keys and does not turn strings into numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Model = TypeVar("Model", bound=Schema)


def parse_size(value: Any) -> Any:
    """'4 GiB' -> 4294967296. Integers pass; anything else is left for the type check to refuse."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
    if not match or match[2].lower() not in SIZE_UNITS:
        raise ValueError("is a number of bytes, such as 512 MiB or 4 GiB")
    return int(Decimal(match[1]) * SIZE_UNITS[match[2].lower()])


Bytes = Annotated[int, BeforeValidator(parse_size)]


def validate(model: type[Model], data: Any, source: str, overridden: Collection[str] = ()) -> Model:
    """Checks `data` against `model`. `overridden` are its keys (`limits` or `limits.cpus`) from the command line.

    Raises: UserError with one line for each fault, each beginning with where the value comes from.
    """
    if not isinstance(data, dict):
        raise UserError(f"{source}: holds {_kind(data)}, not a mapping of keys to values; see docs/formats.md")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        places: dict[str, list[dict[str, Any]]] = {}
        for fault in error.errors():
            places.setdefault(_place(fault), []).append(dict(fault))
        lines = [
            f"{'command line' if {place, place.partition('.')[0]} & {*overridden} else source}: "
            f"{_line(place, faults, model)}"
            for place, faults in islice(places.items(), MAX_FAULTS)
        ]
        more = len(places) - len(lines)
        raise UserError(lines + ([f"{source}: ... and {more} more faults"] if more else [])) from None


def _place(fault: Any) -> str:
    """`limits.cpus`, without the names that pydantic adds for the branches of a union."""
    branches = {"bool", "int", "str", "float", "constrained-int", "constrained-str"}
    *inner, last = map(str, fault["loc"]) if fault["loc"] else ("file",)
    parts = [part for part in inner if part not in branches and "[" not in part]
    if fault["type"] == "extra_forbidden" or not (last in branches or "[" in last):
        parts.append(last)
    place = ".".join(part if part.isprintable() else ascii(part) for part in parts) or "file"
    return place if len(place) <= MAX_SHOWN else place[: MAX_SHOWN - 3] + "..."


def _line(place: str, faults: list[dict[str, Any]], model: type[Schema]) -> str:
    first = faults[0]
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key; {_suggestion(first['loc'], model)}"
    if first["type"] == "missing":
        return f"{place}: required key is missing; add it"
    rules = [fault["msg"].removeprefix("Value error, ").removeprefix("Input ") for fault in faults]
    guess = [_closest(first["input"], fault) for fault in faults if fault["type"] == "literal_error"]
    hint = f"; did you mean {guess[0]}?" if guess and guess[0] else ""
    return f"{place}: {' or '.join(dict.fromkeys(rules))}; got {_short(first['input'])}{hint}"


def _suggestion(location: tuple[int | str, ...], model: type[Schema]) -> str:
    """For an unknown key: the known one that it resembles, else all that are known at that place."""
    fields = model.model_fields
    for part in location[:-1]:
        field = fields.get(str(part))
        fields = getattr(field.annotation, "model_fields", {}) if field else {}
    guess = difflib.get_close_matches(str(location[-1])[:MAX_SHOWN], fields, n=1)
    return f"did you mean {guess[0]}?" if guess else f"known keys: {', '.join(sorted(fields))}"


def _closest(value: Any, fault: dict[str, Any]) -> str | None:
    choices = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
    text = value[:MAX_SHOWN] if isinstance(value, str) else ""
    return next(iter(difflib.get_close_matches(text, choices, n=1)), None)


def _kind(data: Any) -> str:
    return "nothing" if data is None else f"a {type(data).__name__}"


_shortener = reprlib.Repr()
_shortener.maxlevel, _shortener.maxstring, _shortener.maxother, _shortener.maxlong = 3, MAX_SHOWN, MAX_SHOWN, MAX_SHOWN
_shortener.maxlist = _shortener.maxdict = 4


def _short(value: Any) -> str:
    """The value, or as much of it as one line has room for; however deep it is, it is not followed."""
    text = _shortener.repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
