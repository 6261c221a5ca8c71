"""The files of a finished run: the 2017 CSVs, JSON, Markdown and Parquet."""

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.assembly import AuditTable, image_budgets
from harness.atomic import atomic_path, write_atomic
from harness.errors import printable
from harness.round import Round
from harness.scoring import Labels, ScoreTable

if TYPE_CHECKING:
    import pandas as pd

Board = dict[str, Any]

MARKS = re.compile(r"([\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.)", re.IGNORECASE)
"""Characters that mean something in Markdown; an underscore within a word does not, and a bare www. is a link."""

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


def write_results(folder: Path, round_: Round, board: Board, table: ScoreTable, audits: AuditTable) -> None:
    """Writes every file of the results but `provenance.json`, each in one step."""
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
    _write_parquet(folder / "predictions.parquet", [_frame(table, *part) for part in _parts(round_, table, audits)])
    _write_parquet(folder / "attack_images.parquet", list(_image_frames(round_, table, audits)))


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


def markdown(board: Board) -> str:
    """The leaderboard as a page that a code host renders."""
    dataset = board["dataset"]
    lines = [
        f"# {_escaped(board['tournament'])}",
        "",
        f"{dataset['images']} images of `{dataset['name']}`, epsilon {', '.join(board['epsilons'])} of 255, "
        f"rules `{board['rules']}`. {board['missing_output_policy']}",
        "",
        f"Scores are shares of what was possible, with {board['intervals']['confidence']:.0%} intervals "
        "(paired bootstrap over images); equal scores share a rank.",
        "",
    ]
    if not board["complete"]:
        lines += [f"**Incomplete:** {board['missing_answers']} answers are not known yet.", ""]
    lines += _section("Defenses", ["clean accuracy", "against the hardest"], map(_defense_cells, board["defenses"]))
    attack_columns = ["where clean is correct", "against the hardest", "mean L-inf"]
    lines += _section("Attacks", attack_columns, map(_attack_cells, board["attacks"]))
    lines += _section("Targeted attacks", attack_columns, map(_attack_cells, board["targeted_attacks"]))
    lines += _table("Unavailable", ["type", "name", "reason", "remedy"], map(_unavailable_cells, board["unavailable"]))
    return "\n".join(lines)


def _section(title: str, columns: Sequence[str], rows: Iterable[list[str]]) -> list[str]:
    escaped = ([_escaped(cell) for cell in row] for row in rows)
    return _table(title, ["rank", "name", "score", "interval", *columns], escaped)


def _table(title: str, header: Sequence[str], rows: Iterable[list[str]]) -> list[str]:
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return []
    return [f"## {title}", "", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}", *body, ""]


def _unavailable_cells(row: Board) -> list[str]:
    command = row["remedy"].replace("`", "'").replace("|", "\\|")
    return [row["type"], _escaped(row["name"]), _escaped(row["reason"]), f"`{command}`"]


def _escaped(text: str) -> str:
    """Text that a page shows as it is, whoever wrote it: no HTML, no links, no cells or marks of Markdown."""
    return MARKS.sub(r"\\\1", html.escape(printable(text), quote=False))


def common_cells(row: Board) -> list[str]:
    low, high = row["interval"]
    return [str(row["rank"]), row["name"], f"{row['normalised']:.3f}", f"{low:.3f} to {high:.3f}"]


def _defense_cells(row: Board) -> list[str]:
    return [*common_cells(row), shown(row["clean_accuracy"]), worst_case(row)]


def _attack_cells(row: Board) -> list[str]:
    mean_linf = row["perturbation"].get("mean_linf")
    return [
        *common_cells(row),
        shown(row["success_where_clean_correct"]),
        worst_case(row),
        "-" if mean_linf is None else f"{mean_linf:.1f}",
    ]


def shown(estimate: Board | None) -> str:
    """An estimate of the board without its interval."""
    return "-" if estimate is None else f"{estimate['normalised']:.3f}"


def worst_case(row: Board) -> str:
    worst = row["worst_case"]
    return "-" if worst is None else f"{worst['normalised']:.3f} {worst['opponent']}"


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write_parquet(path: Path, frames: "list[pd.DataFrame]") -> None:
    import pandas as pd

    with atomic_path(path) as temporary:
        (pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()).to_parquet(temporary, index=False)


def _image_frames(round_: Round, table: ScoreTable, audits: AuditTable) -> "Iterator[pd.DataFrame]":
    """One row for each adversarial image: what was wrong with it, and how far it is from the clean one."""
    import pandas as pd

    budgets = image_budgets(round_)
    for attack, epsilon in np.ndindex(table.valid.shape[:2]):
        about = {
            "attack": table.attacks[attack],
            "targeted": bool(attack >= table.untargeted),
            "epsilon": budgets[epsilon],
            "image": table.images,
            "digest": audits.digests[attack, epsilon],
            "fault": audits.faults[attack, epsilon],
        }
        yield pd.DataFrame(about | {name: values[attack, epsilon] for name, values in audits.measures.items()})


def _parts(round_: Round, table: ScoreTable, audits: AuditTable) -> Iterator[tuple[Any, ...]]:
    """(attack, targeted, budget, valid, digest: N each; labels: D x N); the clean images are the attack `clean`."""
    images = len(table.images)
    clean = np.array([image.clean for image in round_.images], dtype=object)
    yield "clean", False, np.zeros(images, dtype=np.int16), np.ones(images, dtype=bool), clean, table.clean
    budgets = image_budgets(round_)
    for attack, epsilon in np.ndindex(table.valid.shape[:2]):
        yield (
            table.attacks[attack],
            bool(attack >= table.untargeted),
            budgets[epsilon],
            table.valid[attack, epsilon],
            audits.digests[attack, epsilon],
            table.labels[attack, epsilon],
        )


def _frame(
    table: ScoreTable,
    attack: str,
    targeted: bool,
    budget: Any,
    valid: Any,
    digest: Any,
    labels: Labels,
) -> "pd.DataFrame":
    import pandas as pd

    defenses = len(table.defenses)
    answers = pd.Series(labels.ravel(), dtype="Int32")
    return pd.DataFrame({
        "attack": attack,
        "targeted": targeted,
        "epsilon": np.tile(budget, defenses),
        "defense": np.repeat(table.defenses, len(table.images)),
        "image": np.tile(table.images, defenses),
        "label": answers.mask(answers < 0),
        "true_label": np.tile(table.true_labels, defenses),
        "target_class": np.tile(table.target_classes, defenses),
        "valid": np.tile(valid, defenses),
        "digest": np.tile(digest, defenses),
    })  # fmt: skip
