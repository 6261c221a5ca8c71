"""The files of a finished run: the 2017 CSVs, JSON, Markdown and Parquet."""

import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.assembly import AttackAudits
from harness.atomic import atomic_path, write_atomic
from harness.publish.cells import Board
from harness.publish.markdown import markdown
from harness.round import Round
from harness.scoring import ScoreTable, let_go

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


def write_results(folder: Path, round_: Round, board: Board, table: ScoreTable, audits: AttackAudits) -> None:
    """Writes every file of the results but `provenance.json`, each in one step."""
    from harness.publish.parquet import attack_images_tables, predictions_tables, write_table  # pyarrow takes a while

    write_tables(folder, board, table)
    write_table(predictions_tables(round_, table, audits), folder / "predictions.parquet")
    write_table(attack_images_tables(round_, table, audits), folder / "attack_images.parquet")


def write_tables(folder: Path, board: Board, table: ScoreTable) -> None:
    """Writes those that people read, and the CSVs of 2017."""
    write_atomic(folder / "leaderboard.json", json.dumps(board, indent=2) + "\n")
    write_atomic(folder / "leaderboard.md", markdown(board))
    unfinished = "" if board["complete"] else "incomplete"
    for name, rows in MATRICES.items():
        matrix = board["matrices"]
        body = [[name, *row] for name, row in zip(matrix[rows], matrix[name], strict=True)]
        _write_csv(folder / f"{name}.csv", [[unfinished, *matrix["defenses"]], *body])
    for name, (rows, header) in RANKINGS.items():
        body = [[row["name"], row["score"]] for row in board[rows]]
        _write_csv(folder / f"{name}.csv", [[header, f"Score {unfinished}".strip()], *body])
    _write_csv(folder / "all_classification.csv", itertools.chain([CLASSIFICATION_HEADER], classifications(table)))


def classifications(table: ScoreTable) -> Iterator[tuple[str | int | bool, ...]]:
    """The rows of `all_classification.csv`: every answer on an attack's own image."""
    truth = table.true_labels.tolist(), table.target_classes.tolist()
    for attack, epsilon in np.ndindex(table.valid.shape[:2]):
        kind = table.attacks[attack], attack >= table.untargeted
        for defense, labels in zip(table.defenses, table.labels[attack, epsilon], strict=True):
            images = np.flatnonzero((labels >= 0) & table.valid[attack, epsilon])
            for image, label in zip(images.tolist(), labels[images].tolist(), strict=True):
                yield *kind, defense, table.images[image], label, truth[0][image], truth[1][image]
        let_go(table.labels)


def _write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(map(_cell, row) for row in rows)


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
