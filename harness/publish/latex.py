"""Tables for a paper: the three rankings and the matrices in LaTeX, with booktabs, for any engine.

Each file is a few `table` environments to be `\\input`; `leaderboard.tex` is a document that holds all of them.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from harness.errors import printable
from harness.publish.cells import TITLES, Board, about, ranking_cells, ranking_header

T = TypeVar("T")

ROWS, COLUMNS = 40, 10
"""Of one table; what is longer or wider goes on in the next."""

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\textbraceleft{}", "}": r"\textbraceright{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    "$": r"\$", "%": r"\%", "&": r"\&", "#": r"\#", "_": r"\_",
    "\u00c5": r"\AA{}", "\u00c6": r"\AE{}", "\u00d7": r"\texttimes{}", "\u00d8": r"\O{}",
    "\u00df": r"\ss{}", "\u00e5": r"\aa{}", "\u00e6": r"\ae{}", "\u00f8": r"\o{}", "\u0131": r"\i{}",
    "\u0141": r"\L{}", "\u0142": r"\l{}", "\u0152": r"\OE{}", "\u0153": r"\oe{}", "\u2013": r"\textendash{}",
    "\u2014": r"\textemdash{}", "\u2018": r"\textquoteleft{}", "\u2019": r"\textquoteright{}",
    "\u201c": r"\textquotedblleft{}", "\u201d": r"\textquotedblright{}", "\u2026": r"\ldots{}",
}  # fmt: skip
"""Characters that LaTeX would take for commands, and some that it has a command for. Braces in a BibTeX field must
pair even behind a backslash."""

LIGATURES = re.compile(r"(?<=-)(?=-)|(?<=,)(?=,)")
"""Between two hyphens, which would become a dash, and two commas, which would become a quotation mark."""

ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c", "\u0323": "d", "\u0331": "b",
}  # fmt: skip

MATRICES = {
    "accuracy_on_attacks": ("attacks", "answers that are correct, of each defense (column) on each attack (row)"),
    "accuracy_on_targeted_attacks": (
        "targeted_attacks",
        "answers that are correct, of each defense (column) on each targeted attack (row)",
    ),
    "hit_target_class": (
        "targeted_attacks",
        "answers that are the target class, of each defense (column) on each targeted attack (row)",
    ),
}

TEXT = ("name", "against the hardest")
"""Columns that are not numbers."""

PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[margin=2cm]{geometry}
\begin{document}
"""

NEEDS = "% needs \\usepackage[T1]{fontenc}, \\usepackage{textcomp}, \\usepackage{booktabs} and \\usepackage{graphicx}\n"


def latex_text(text: str) -> str:
    """`text` as LaTeX shows it, whoever wrote it, in ASCII: no command, no end of a group, no comment.

    Letters with the usual accents keep them; a character that LaTeX has no letter for is shown as its number.
    """
    return "".join(map(_glyph, unicodedata.normalize("NFC", LIGATURES.sub("\0", printable(text)))))


def _glyph(char: str) -> str:
    if char == "\0":
        return "{}"
    if char in SPECIAL:
        return SPECIAL[char]
    if char.isascii():
        return char if char.isprintable() else " "
    parts = unicodedata.normalize("NFD", char)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS:
        return rf"\{ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"[U+{ord(char):04X}]"


def latex_files(board: Board, slug: str) -> dict[str, str]:
    """Name -> text: a file for each ranking and matrix that is not empty, and the document. slug: begins the labels."""
    tables = {role: "".join(_ranking(board, role, slug)) for role in TITLES if board[role]}
    for name, (rows, title) in MATRICES.items():
        if board["matrices"][rows]:
            tables[name] = "".join(_matrix(board, name, rows, title, slug))
    document = PREAMBLE + "".join(f"\\input{{{name}.tex}}\n\\clearpage\n" for name in tables) + "\\end{document}\n"
    return {f"{name}.tex": NEEDS + text for name, text in tables.items()} | {"leaderboard.tex": document}


def _ranking(board: Board, role: str, slug: str) -> Iterator[str]:
    columns = ranking_header(role)
    rows = [ranking_cells(role, row) for row in board[role]]
    caption = f"{TITLES[role]}: share of what was possible, with {board['intervals']['confidence']:.0%} intervals"
    form = "".join("l" if column in TEXT else "r" for column in columns)
    for number, part in enumerate(_parts(rows, ROWS)):
        yield _table(board, f"{slug}-{role}", number, caption, form, map(latex_text, columns), part)


def _matrix(board: Board, name: str, rows: str, title: str, slug: str) -> Iterator[str]:
    """Shares of all images and budgets."""
    matrix = board["matrices"]
    possible = board["dataset"]["images"] * len(board["epsilons"])
    caption, number = f"Share of {title}", 0
    for some in _parts(range(len(matrix["defenses"])), COLUMNS):
        header = ["", *(rf"\rotatebox{{90}}{{{latex_text(matrix['defenses'][column])}}}" for column in some)]
        body = [
            [attack, *(f"{counts[column] / possible:.3f}" for column in some)]
            for attack, counts in zip(matrix[rows], matrix[name], strict=True)
        ]
        for part in _parts(body, ROWS):
            label = f"{slug}-{name.replace('_', '-')}"
            yield _table(board, label, number, caption, "l" + "r" * len(some), header, part)
            number += 1


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Pieces of at most `size`; of nothing there is one, empty."""
    return [items[start : start + size] for start in range(0, max(len(items), 1), size)]


def _table(
    board: Board, label: str, number: int, caption: str, form: str, header: Iterable[str], rows: Iterable[Sequence[str]]
) -> str:
    """number: of the tables that go on with one another, the first is 0."""
    more = " (continued)" if number else ""
    unfinished = "" if board["complete"] else f"Incomplete: {board['missing_answers']} answers are not known yet. "
    text = f"{latex_text(board['tournament'])}. {latex_text(caption + more)}; {latex_text(about(board))}."
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{unfinished}{text}}}",
        rf"\label{{tab:{label}{f'-{number + 1}' if number else ''}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}{form}@{{}}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *(" & ".join(map(latex_text, row)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)
