"""How an attempt says what came of it: one last line and an exit code. Lies beside every attempt."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

GOT_OUT = 10
NOT_TRIED = 20

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "facts.json")) as file:
    FACTS: Any = json.load(file)

INPUTS, OUTPUT = sys.argv[1:3]


def contained(what: str) -> NoReturn:
    _end(0, what)


def got_out(what: str) -> NoReturn:
    _end(GOT_OUT, what)


def not_tried(why: str) -> NoReturn:
    _end(NOT_TRIED, why)


def _end(code: int, text: str) -> NoReturn:
    print(text if len(text) < 400 else text[:400] + " ...", flush=True)
    sys.exit(code)


def all_refused(tries: dict[str, Callable[[], object]]) -> NoReturn:
    """Ends the attempt: it got out where one of `tries` raises no OSError."""
    reasons = []
    for name, attempt in tries.items():
        try:
            attempt()
        except OSError as error:
            reasons.append(str(error.strerror or error))
        else:
            got_out(f"{name}: allowed")
    contained(f"{len(reasons)} ways, all refused ({', '.join(dict.fromkeys(reasons))})")


def token(name: str) -> str:
    """A secret that is to be looked for; only its halves are in the facts, so that they are no place to find it."""
    first, second = FACTS["tokens"][name]
    return first + second
