"""What a publication rests on: every answer, every image's audit, the ledger and the provenance of one run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.assembly import AuditTable, assemble, read_audits
from harness.errors import UserError
from harness.index import CallRecord
from harness.round import Round, read_round
from harness.scoring import ScoreTable
from harness.store import Store

PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Evidence:
    """Numbers are computed from nothing else, so whoever has it can compute them again.

    ledger: the calls that were made, oldest first. provenance: what `provenance.json` says.
    """

    round: Round
    table: ScoreTable
    audits: AuditTable
    ledger: tuple[CallRecord, ...]
    provenance: Mapping[str, Any]


def collect(output: Path, store: Store) -> Evidence:
    """The evidence of a run from its output folder and store. Raises: UserError where the run did not end."""
    round_ = read_round(output)
    audits = read_audits(round_, store.index)
    table = assemble(round_, store.index, audits)
    return Evidence(round_, table, audits, tuple(store.index.calls(round_.players())), _provenance(output))


def _provenance(output: Path) -> Mapping[str, Any]:
    path = output / PROVENANCE
    try:
        provenance: Mapping[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: is missing, so the run did not end; run the same command again") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run the same command again") from None
    return provenance
