"""What a publication rests on: every answer, every image's audit, the ledger and the provenance of one run."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.assembly import AuditTable, assemble, make_table, read_audits
from harness.atomic import write_atomic
from harness.errors import UserError
from harness.index import CallRecord
from harness.publish.border import check_audits, check_round, check_version, read_ledger, read_provenance, read_value
from harness.publish.parquet import (
    attack_images_tables,
    predictions_tables,
    read_attack_images,
    read_predictions,
    read_similarity,
    similarity_table,
    write_table,
)
from harness.publish.provenance import published_log, published_provenance
from harness.publish.similarity import Similarity
from harness.round import FILE_NAME, SCHEMA_VERSION, Round, read_round, write_round
from harness.scoring import ScoreTable
from harness.store import Store

PROVENANCE = "provenance.json"
LEDGER = "ledger.json"
PREDICTIONS = "predictions.parquet"
ATTACK_IMAGES = "attack_images.parquet"
SIMILARITY = "similarity.parquet"
FILES = (FILE_NAME, PREDICTIONS, ATTACK_IMAGES, LEDGER, PROVENANCE)
"""Those that are always there; SIMILARITY only where somebody had the pixels."""


@dataclass(frozen=True)
class Evidence:
    """Numbers are computed from nothing else, so whoever has it can compute them again.

    ledger: the calls that were made, oldest first. provenance: what `provenance.json` says. similarity: of the
    attacks' perturbations, None where nobody measured it.
    """

    round: Round
    table: ScoreTable
    audits: AuditTable
    ledger: tuple[CallRecord, ...]
    provenance: Mapping[str, Any]
    similarity: Similarity | None = None


def collect(output: Path, store: Store) -> Evidence:
    """The evidence of a run from its output folder and store. Raises: UserError where the run did not end."""
    round_ = read_round(output)
    table, audits = assemble(round_, store.index), read_audits(round_, store.index)
    return Evidence(round_, table, audits, tuple(store.index.calls(round_.players())), _provenance(output))


def collect_files(output: Path) -> Evidence:
    """The same without a store, from what the run wrote into its output folder: no ledger. Raises: UserError."""
    round_ = read_round(output)
    audits = read_attack_images(output / ATTACK_IMAGES, round_)
    clean, labels = read_predictions(output / PREDICTIONS, round_)
    return Evidence(round_, make_table(round_, audits, labels, clean), audits, (), _provenance(output))


def _provenance(output: Path) -> Mapping[str, Any]:
    path = output / PROVENANCE
    try:
        provenance: Mapping[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: is missing, so the run did not end; run the same command again") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run the same command again") from None
    return provenance


def without_place(evidence: Evidence) -> Evidence:
    """What may be published of it: no folder, no host, no kernel, no ids of GPUs, and of logs the last lines."""
    host = str(evidence.provenance.get("machine", {}).get("host", ""))
    return replace(
        evidence,
        round=replace(evidence.round, store=""),
        ledger=tuple(replace(call, log=published_log(call, host)) for call in evidence.ledger),
        provenance=published_provenance(evidence.provenance),
    )


def write_evidence(evidence: Evidence, folder: Path) -> None:
    """Writes FILES, and SIMILARITY where there is one; the same bytes for the same evidence."""
    round_, table, audits = evidence.round, evidence.table, evidence.audits
    write_round(round_, folder)
    write_table(predictions_tables(round_, table, audits), folder / PREDICTIONS)
    write_table(attack_images_tables(round_, table, audits), folder / ATTACK_IMAGES)
    write_json([asdict(call) for call in evidence.ledger], folder / LEDGER)
    write_json(evidence.provenance, folder / PROVENANCE)
    if evidence.similarity is not None:
        write_table([similarity_table(evidence.similarity)], folder / SIMILARITY)


def read_evidence(folder: Path) -> Evidence:
    """The inverse of `write_evidence`, of a folder that anybody may have filled. Raises: UserError."""
    path = folder / FILE_NAME
    check_version(path, SCHEMA_VERSION)
    round_ = read_value(path, Round)
    check_round(path, round_)
    audits = read_attack_images(folder / ATTACK_IMAGES, round_)
    check_audits(folder / ATTACK_IMAGES, audits)
    clean, labels = read_predictions(folder / PREDICTIONS, round_)
    similar = folder / SIMILARITY
    return Evidence(
        round_,
        make_table(round_, audits, labels, clean),
        audits,
        read_ledger(folder / LEDGER, round_),
        read_provenance(folder / PROVENANCE),
        read_similarity(similar, round_) if os.path.lexists(similar) else None,
    )


def write_json(value: Any, path: Path) -> None:
    """In one step; Raises: ValueError where a number is none."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
