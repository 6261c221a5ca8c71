"""What the rankings are printed with, whatever the form: which columns there are, and what stands in them."""

from typing import Any

Board = dict[str, Any]

TITLES = {"defenses": "Defenses", "attacks": "Attacks", "targeted_attacks": "Targeted attacks"}
"""The three rankings, by their keys in the board."""

COMMON = ("rank", "name", "score", "interval", "rank interval")
OF_DEFENSES = ("clean accuracy", "against the hardest")
OF_ATTACKS = ("where clean is correct", "against the hardest", "mean L-inf")


def ranking_header(role: str) -> list[str]:
    """role: a key of TITLES."""
    return [*COMMON, *(OF_DEFENSES if role == "defenses" else OF_ATTACKS)]


def ranking_cells(role: str, row: Board) -> list[str]:
    """A row of the board under `ranking_header`; names are as their authors wrote them, nothing is escaped."""
    low, high = row["interval"]
    cells = [str(row["rank"]), row["name"], f"{row['normalised']:.3f}", f"{low:.3f} to {high:.3f}", rank_interval(row)]
    if role == "defenses":
        return [*cells, shown(row["clean_accuracy"]), worst_case(row)]
    mean_linf = row["perturbation"].get("mean_linf")
    distance = "-" if mean_linf is None else f"{mean_linf:.1f}"
    return [*cells, shown(row["success_where_clean_correct"]), worst_case(row), distance]


def rank_interval(row: Board) -> str:
    """The ranks that cannot be told apart from the row's own."""
    first, last = row["rank_interval"]
    return str(first) if first == last else f"{first} to {last}"


def shown(estimate: Board | None) -> str:
    """An estimate of the board without its interval."""
    return "-" if estimate is None else f"{estimate['normalised']:.3f}"


def worst_case(row: Board) -> str:
    worst = row["worst_case"]
    return "-" if worst is None else f"{worst['normalised']:.3f} {worst['opponent']}"


def about(board: Board) -> str:
    """Dataset, budgets and rules in one line; the dataset's name is as somebody wrote it."""
    dataset, epsilons = board["dataset"], ", ".join(board["epsilons"])
    return f"{dataset['images']} images of {dataset['name']}, epsilon {epsilons} of 255, rules {board['rules']}"
