"""The leaderboard as a page that a code host renders."""

import html
import re
from collections.abc import Iterable, Sequence

from harness.errors import printable
from harness.publish.cells import TITLES, Board, about, ranking_cells, ranking_header

MARKS = re.compile(r"([\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.)", re.IGNORECASE)
"""Characters that mean something in Markdown; an underscore within a word does not, and a bare www. is a link."""


def markdown(board: Board) -> str:
    """Rankings, how they were counted, and who could not be played."""
    lines = [
        f"# {escape_markdown(board['tournament'])}",
        "",
        f"{escape_markdown(about(board))}. {board['missing_output_policy']}",
        "",
        f"Scores are shares of what was possible, with {board['intervals']['confidence']:.0%} intervals "
        f"({board['intervals']['method']}); equal scores share a rank. A rank interval holds the ranks that tests "
        "cannot tell from the row's own.",
        "",
    ]
    if not board["complete"]:
        lines += [f"**Incomplete:** {board['missing_answers']} answers are not known yet.", ""]
    for role, title in TITLES.items():
        rows = (map(escape_markdown, ranking_cells(role, row)) for row in board[role])
        lines += _table(title, ranking_header(role), rows)
    lines += _table("Unavailable", ["type", "name", "reason", "remedy"], map(_unavailable_cells, board["unavailable"]))
    return "\n".join(lines)


def _table(title: str, header: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return []
    return [f"## {title}", "", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}", *body, ""]


def _unavailable_cells(row: Board) -> list[str]:
    command = printable(row["remedy"]).replace("`", "'").replace("|", "\\|")
    return [row["type"], escape_markdown(row["name"]), escape_markdown(row["reason"]), f"`{command}`"]


def escape_markdown(text: str) -> str:
    """Text that a page shows as it is, whoever wrote it: no HTML, no links, no cells or marks of Markdown."""
    return MARKS.sub(r"\\\1", html.escape(printable(text), quote=False))
