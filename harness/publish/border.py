"""Where a stranger's bundle comes in: its small files become values of known types, or one line says what is wrong.

Nothing here follows a link, opens a path that a file names, or reads more than MAX_JSON_BYTES.
"""

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.assembly import AuditTable
from harness.errors import UserError
from harness.index import CallRecord
from harness.publish.provenance import MOST, Provenance, published_log
from harness.records import Fault
from harness.round import Round
from harness.scoring import POLICIES
from harness.submission import NAME_PATTERN

MAX_JSON_BYTES = 64 << 20

MAX_LABEL = 1 << 20
"""Of a class; what counts labels is as long as there are."""

MAX_SUBMISSIONS = 2000
"""Of a stranger's round, attacks or defenses; tables of pairs grow with the square."""

MAX_PICTURES = 4_000_000
"""Adversarial images of a stranger's round, five times those of 2017: each takes some 500 bytes once it is read, and
next to none in the file.
"""

LEAST_SECONDS = 1e-6

DIGEST = re.compile(r"[0-9a-f]{64}")
EPSILON = re.compile(r"[a-z0-9]{1,10}")

T = TypeVar("T")


def read_bytes(path: Path) -> bytes:
    """A plain file of a sensible size. Raises: UserError."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{path}: is no plain file; get the bundle again")
            if status.st_size > MAX_JSON_BYTES:
                raise UserError(f"{path}: is larger than {MAX_JSON_BYTES >> 20} MiB; get the bundle again")
            return file.read(MAX_JSON_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; get the bundle again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); get the bundle again") from None


def read_plain(path: Path) -> Any:
    """Whatever JSON value a file holds. Raises: UserError."""
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid JSON ({' '.join(str(error).split())}); get the bundle again") from None


def read_value(path: Path, kind: type[T]) -> T:
    """A file's JSON as a value of `kind`, all types checked, unknown keys of dataclasses passed over.

    Raises: UserError naming the first fault.
    """
    data = read_bytes(path)
    try:
        return TypeAdapter(kind).validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "file"
        raise UserError(f"{path}: {place}: {first['msg']}; get the bundle again") from None


def check_version(path: Path, expected: int) -> None:
    """Raises: UserError where the file says that it has another `schema_version`."""
    data = read_plain(path)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != expected:
        raise UserError(
            f"{path}: has schema_version {str(version)[:20]}, this harness reads {expected}; "
            "use the version of the harness that manifest.json names"
        )


def check_round(path: Path, round_: Round) -> None:
    """Raises: UserError where no run could have written it: sizes, order, names that would not be let in."""
    for fault in _round_faults(round_):
        raise UserError(f"{path}: {fault}; get the bundle again")


def _round_faults(round_: Round) -> Iterator[str]:
    yield from _size_faults(round_)
    if round_.rules not in POLICIES:
        yield f"rules {round_.rules!r} are not known"
    if not 1 <= len(round_.tournament) <= 100 or not all(EPSILON.fullmatch(name) for name in round_.epsilons):
        yield "the tournament's name is not 1 to 100 characters, or a budget has no plain name"
    ids = [image.id for image in round_.images]
    if len(set(ids)) != len(ids) or not all(map(_is_plain, ids)):
        yield "an image's id is no plain file name, or is there twice"
    attacks = [(attack.targeted, attack.name) for attack in round_.attacks]
    if attacks != sorted(set(attacks)):
        yield "attacks are there twice, or not sorted: the untargeted ones, then the targeted ones, by name"
    defenses = [defense.name for defense in round_.defenses]
    if defenses != sorted(set(defenses)):
        yield "defenses are there twice, or not sorted by name"
    if not all(NAME_PATTERN.fullmatch(name) for name in [*defenses, *(name for _, name in attacks)]):
        yield "a submission's name has characters that no name may have"
    if not all(DIGEST.fullmatch(digest) for digest in _digests(round_)):
        yield "something stands where a SHA-256 in hex should"
    if not all(round_.labels.has_class(label) for one in round_.images for label in (one.true_label, one.target_class)):
        yield "a label is outside of the label space"


def _size_faults(round_: Round) -> Iterator[str]:
    if not round_.images or not round_.epsilons or round_.batch_size < 1:
        yield "there is no image, no budget or no batch"
        return
    attacks, defenses, pictures = len(round_.attacks), len(round_.defenses), len(round_.epsilons) * len(round_.images)
    if max(attacks, defenses) > MAX_SUBMISSIONS or attacks * pictures > MAX_PICTURES:
        yield f"there are more than {MAX_SUBMISSIONS} attacks or defenses, or {MAX_PICTURES} adversarial images"
        return
    shape = len(round_.epsilons), len(round_.batches)
    for rows in (round_.budgets, *(attack.units for attack in round_.attacks)):
        if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
            yield f"budgets or units are not {shape[0]} x {shape[1]}, one for each budget and batch"
    if not all(0 <= budget <= 255 for row in round_.budgets for budget in row):
        yield "a budget is not 0 to 255"
    if not all(1 <= side <= 1 << 14 for side in round_.image_size) or round_.labels.last > MAX_LABEL:
        yield "the images' size or the label space is none"
    if round_.seed < 0:
        yield "the seed is below 0"


def _digests(round_: Round) -> Iterable[str]:
    for image in round_.images:
        yield from (image.source, image.clean)
    yield from (*round_.submissions(), *round_.players(), *round_.unit_keys())


def _is_plain(name: str) -> bool:
    """As `harness.dataset` asks of an ImageId."""
    return name.isprintable() and 0 < len(name) <= 255 and name[0] not in ".-" and not set(name) & set('/,"')


def read_ledger(path: Path, round_: Round) -> tuple[CallRecord, ...]:
    """Raises: UserError."""
    calls = read_value(path, tuple[CallRecord, ...])
    players = set(round_.players())
    for number, call in enumerate(calls):
        if fault := next(_call_faults(call, players), None):
            raise UserError(f"{path}: call {number}: {fault}; get the bundle again")
    return calls


def _call_faults(call: CallRecord, players: set[str]) -> Iterator[str]:
    if call.player not in players or not DIGEST.fullmatch(call.key):
        yield "is of nobody in the round"
    code = abs(call.exit_code or 0)
    counts = [call.seconds, call.peak_memory, call.images, call.unknown_names, code, *call.faults.values()]
    if not all(0 <= count < MOST for count in counts) or 0 < call.seconds < LEAST_SECONDS:
        yield "has numbers that cannot be"
    if not set(call.faults) <= set(Fault):
        yield "has a fault that is none"
    if call.log != published_log(call, ""):
        yield "has another log than the last lines of a failed call"


def read_provenance(path: Path) -> dict[str, Any]:
    """Raises: UserError."""
    return read_value(path, Provenance).model_dump(mode="json")


def check_audits(path: Path, audits: AuditTable) -> None:
    """Raises: UserError where digests, faults or measures are none."""
    digests, faults = set(audits.digests.ravel()), set(audits.faults.ravel())
    if not all(DIGEST.fullmatch(digest) for digest in digests - {""}) or not faults <= {"", *Fault}:
        raise UserError(f"{path}: holds digests or faults that are none; get the bundle again")
    if not all(((values >= 0) & (values < 1 << 31)).all() for values in audits.measures.values()):
        raise UserError(f"{path}: holds measures that cannot be; get the bundle again")
