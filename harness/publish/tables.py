"""The files of a finished run: the 2017 CSVs, JSON, Markdown and Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.assembly import AuditTable
from harness.atomic import write_atomic
from harness.publish.cells import Board
from harness.publish.markdown import markdown
from harness.round import Round
from harness.scoring import ScoreTable

MATRICES = {
    "accuracy_on_attacks": "attacks",
    "accuracy_on_targeted_attacks": "targeted_attacks",
    "hit_target_class": "targeted_attacks",
}
RANKINGS = {
    "attack_ranking": ("attacks", "AttackName"),
    "targeted_attack_ranking": ("targeted_attacks", "AttackName"),
    "defense_ranking": ("defenses", "DefenseName"),
}
CLASSIFICATION_HEADER = (
    "AttackName", "IsTargeted", "DefenseName", "ImageId", "PredictedLabel", "TrueLabel", "TargetClass",
)  # fmt: skip

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With what a spreadsheet would reckon; such text gets a quote before it, as spreadsheets write it themselves."""


def write_results(folder: Path, round_: Round, board: Board, table: ScoreTable, audits: AuditTable) -> None:
    """Writes every file of the results but `provenance.json`, each in one step."""
    from harness.publish.parquet import attack_images_table, predictions_table, write_table  # pyarrow takes a while

    write_tables(folder, board, table)
    write_table(predictions_table(round_, table, audits), folder / "predictions.parquet")
    write_table(attack_images_table(round_, table, audits), folder / "attack_images.parquet")


def write_tables(folder: Path, board: Board, table: ScoreTable) -> None:
    """Writes those that people read, and the CSVs of 2017."""
    write_atomic(folder / "leaderboard.json", json.dumps(board, indent=2) + "\n")
    write_atomic(folder / "leaderboard.md", markdown(board))
    unfinished = "" if board["complete"] else "incomplete"
    for name, rows in MATRICES.items():
        matrix = board["matrices"]
        body = [[name, *row] for name, row in zip(matrix[rows], matrix[name], strict=True)]
        write_atomic(folder / f"{name}.csv", _csv([[unfinished, *matrix["defenses"]], *body]))
    for name, (rows, header) in RANKINGS.items():
        body = [[row["name"], row["score"]] for row in board[rows]]
        write_atomic(folder / f"{name}.csv", _csv([[header, f"Score {unfinished}".strip()], *body]))
    write_atomic(folder / "all_classification.csv", _csv([CLASSIFICATION_HEADER, *classifications(table)]))


def classifications(table: ScoreTable) -> Iterator[tuple[str | int | bool, ...]]:
    """The rows of `all_classification.csv`: every answer on an attack's own image."""
    answered = (table.labels >= 0) & table.valid[:, :, None, :]
    for attack, epsilon, defense, image in np.argwhere(answered):
        yield (
            table.attacks[attack],
            bool(attack >= table.untargeted),
            table.defenses[defense],
            table.images[image],
            int(table.labels[attack, epsilon, defense, image]),
            int(table.true_labels[image]),
            int(table.target_classes[image]),
        )


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
