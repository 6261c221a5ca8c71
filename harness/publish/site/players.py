"""Who took part: what a submission says of itself, what its calls cost, and which of them failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.index import CallRecord
from harness.publish.site.publication import Publication
from harness.publish.slugs import anchor
from harness.records import Verdict

LOG_LINES = 20
MAX_FAILED = 20
"""Failed calls that are shown of one submission."""


@dataclass(frozen=True)
class Failure:
    """A call that did not end well. log: its last lines."""

    label: str
    verdict: str
    exit_code: int | None
    seconds: float
    faults: Mapping[str, int]
    log: Sequence[str]


@dataclass(frozen=True)
class Player:
    """about: of `provenance.json`; row: of the board; cost: of the report, or None."""

    id: str
    role: str
    name: str
    about: Mapping[str, Any]
    row: Mapping[str, Any]
    cost: Mapping[str, Any] | None
    failures: Sequence[Failure]
    failed: int

    @property
    def authors(self) -> str:
        authors = self.about.get("authors") or ()
        return authors if isinstance(authors, str) else ", ".join(map(str, authors))


def players(publication: Publication) -> list[Player]:
    """Defenses, attacks, targeted attacks; each by rank."""
    round_, board = publication.evidence.round, publication.board
    ids = {("targeted_attack" if one.targeted else "attack", one.name): one.player for one in round_.attacks}
    ids |= {("defense", one.name): one.player for one in round_.defenses}
    rows = [("defense", row) for row in board["defenses"]]
    rows += [("attack", row) for row in board["attacks"]]
    rows += [("targeted_attack", row) for row in board["targeted_attacks"]]
    return [_player(publication, role, row, ids[role, row["name"]]) for role, row in rows]


def _player(publication: Publication, role: str, row: Mapping[str, Any], key: str) -> Player:
    name = row["name"]
    about = _named(publication.evidence.provenance.get("submissions", ()), role, name)
    failed = [call for call in publication.evidence.ledger if call.player == key and call.verdict != Verdict.OK]
    return Player(
        anchor(role, name),
        role,
        name,
        about or {},
        row,
        _named(publication.report.get("costs", ()), role, name),
        [_failure(call) for call in failed[:MAX_FAILED]],
        len(failed),
    )


def _named(rows: Sequence[Mapping[str, Any]], role: str, name: str) -> Mapping[str, Any] | None:
    return next((row for row in rows if (row["type"], row["name"]) == (role, name)), None)


def _failure(call: CallRecord) -> Failure:
    lines = call.log.split("\n")
    return Failure(call.label, call.verdict, call.exit_code, call.seconds, call.faults, lines[-LOG_LINES:])
