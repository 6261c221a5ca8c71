"""Tables for papers are compiled by other people: whatever a name holds, LaTeX and BibTeX must show it and neither obey
nor stumble over it, and the numbers in them are those of the board."""

import os
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from bundles import example, make_evidence, make_provenance
from helpers import score_table
from hypothesis import given
from hypothesis import strategies as st
from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

from harness.leaderboard import build_leaderboard
from harness.publish.bibtex import bibtex
from harness.publish.latex import COLUMNS, ROWS, latex_files, latex_text
from harness.publish.tables import MATRICES

NASTY = (
    "\\input{/etc/passwd} $x$ 50% a_b & # ~ ^ {[ ]} <<>> -- --- ,, `` '' \" | "
    "é ß Ø ł ő ẹ \u2014 \u2026 中 😀 \u202e \x07 \\end{table}"
)


def board_of(evidence, **more):
    return build_leaderboard(evidence.round, evidence.table, evidence.audits, "fair") | more


def parse(text):
    """The nodes of a document; raises where it does not parse."""
    return LatexWalker(text, tolerant_parsing=False).get_latex_nodes()[0]


def nodes(node_list, kind):
    for node in node_list:
        if isinstance(node, kind):
            yield node
        yield from nodes(getattr(node, "nodelist", None) or [], kind)


def tabulars(text):
    """The rows of each tabular, as cells without markup."""
    for block in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        lines = [line.removesuffix(r" \\") for line in block.splitlines() if line != r"\midrule"]
        yield [re.split(r"(?<!\\) & ", line) for line in lines]


@given(st.text(max_size=50))
def test_any_text_is_one_run_of_harmless_ascii(text):
    shown = latex_text(text)
    assert shown.isascii()
    assert "\n" not in shown
    commands = set(re.findall(r"\\([a-zA-Z]+|.)", shown))
    assert not commands & {"input", "write", "def", "end", "begin", "csname", "catcode", "include", "openout", "\\"}
    depth = 0
    for char in shown:  # as BibTeX counts: a backslash hides no brace
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
    parse(f"{{{shown}}}")


SHOWN = ["a_b & c", "50% of $5", "#1", "C:\\temp", "naïve café", "Łódź Øre Æ ß", "Erdős", "œuvre"]


@pytest.mark.parametrize("text", SHOWN)
def test_what_a_reader_sees_is_what_was_written(text):
    assert LatexNodes2Text().latex_to_text(latex_text(text)).strip() == text


def test_what_has_no_letter_is_shown_by_its_number():
    assert latex_text("a中b") == "a[U+4E2D]b"
    assert latex_text("--,,") == "-{}-,{},"


def test_every_ranking_and_matrix_is_a_table_with_the_boards_numbers():
    board = board_of(example())
    files = latex_files(board, "tiny")
    assert set(files) == {
        f"{name}.tex" for name in ("defenses", "attacks", "targeted_attacks", "leaderboard", *MATRICES)
    }
    for role in ("defenses", "attacks", "targeted_attacks"):
        (rows,) = tabulars(files[f"{role}.tex"])
        assert rows[0][:3] == ["rank", "name", "score"]
        expected = [[str(row["rank"]), row["name"], f"{row['normalised']:.3f}"] for row in board[role]]
        assert [row[:3] for row in rows[1:]] == expected
    for name, key in MATRICES.items():
        (rows,) = tabulars(files[f"{name}.tex"])
        assert [row[0] for row in rows[1:]] == board["matrices"][key]
        shares = [[f"{count / 4:.3f}" for count in counts] for counts in board["matrices"][name]]
        assert [row[1:] for row in rows[1:]] == shares


@pytest.mark.parametrize("nasty", ["", NASTY])
def test_the_document_parses_whatever_names_there_are(nasty):
    files = latex_files(nasty_board(nasty), "tiny")
    for name, text in files.items():
        parsed = parse(text)
        if name != "leaderboard.tex":
            tables = [node for node in nodes(parsed, LatexEnvironmentNode) if node.environmentname == "table"]
            assert len(tables) == text.count(r"\begin{table}") == text.count(r"\end{table}")
    for name in re.findall(r"\\input\{(.*?)\}", files["leaderboard.tex"]):
        assert name in files


def nasty_board(nasty):
    """A board in which whatever somebody chose is `nasty`."""
    evidence = example()
    round_ = replace(evidence.round, tournament=f"t{nasty}", dataset=f"d{nasty}")
    names = {key: tuple(f"{name}{nasty}" for name in getattr(evidence.table, key)) for key in ("attacks", "defenses")}
    return board_of(replace(evidence, round=round_, table=replace(evidence.table, **names)))


def test_every_row_has_as_many_cells_as_the_header():
    for name, text in latex_files(nasty_board(NASTY), "tiny").items():
        if name != "leaderboard.tex":
            for rows in tabulars(text):
                assert len({len(row) for row in rows}) == 1


def test_what_is_too_long_or_too_wide_goes_on_in_the_next_table():
    attacks, defenses = ROWS + 2, COLUMNS + 1
    table = score_table(np.ones((attacks, 1, defenses, 1)))
    names = tuple(f"a{number:03}" for number in range(attacks))
    evidence = make_evidence(table, similarity=False)
    board = board_of(replace(evidence, table=replace(table, attacks=names)))
    files = latex_files(board, "tiny")
    assert [len(rows) - 1 for rows in tabulars(files["attacks.tex"])] == [ROWS, 2]
    shapes = [(len(rows) - 1, len(rows[0]) - 1) for rows in tabulars(files["accuracy_on_attacks.tex"])]
    assert shapes == [(ROWS, COLUMNS), (2, COLUMNS), (ROWS, 1), (2, 1)]
    labels = re.findall(r"\\label\{(.*?)\}", "".join(files.values()))
    assert len(labels) == len(set(labels))


def test_an_incomplete_board_says_so_in_every_caption():
    table = example().table
    table.labels[0, 0, 0, 1] = -2
    for name, text in latex_files(board_of(make_evidence(table)), "tiny").items():
        assert text.count("Incomplete: 1 answers are not known yet.") == text.count(r"\caption")
        assert (r"\caption" in text) is (name != "leaderboard.tex")


# --- the bibliography


def entries(text):
    """key -> field -> value, read as BibTeX does: braces count, a backslash hides none."""
    found = {}
    for kind, key, body in re.findall(r"@(\w+)\{([^,]+),\n(.*?)\n\}\n", text, re.DOTALL):
        assert kind == "misc"
        assert key not in found
        found[key] = dict(re.fullmatch(r"  (\w+) = \{(.*)\},", line).groups() for line in body.splitlines())
    return found


def test_every_method_has_an_entry():
    found = entries(bibtex("tiny", example().provenance))
    assert set(found) == {"tiny-a0", "tiny-a1", "tiny-a2", "tiny-d0", "tiny-d1"}
    assert found["tiny-a2"] == {
        "author": "{A. Author}",
        "title": "{a2}",
        "year": "2020",
        "note": "Targeted attack. About a2.",
        "howpublished": r"\url{https://example.org/paper}",
    }


def test_keys_are_unique_whatever_the_names():
    provenance = example().provenance
    names = ["a b", "a_b", "A.B", "a b", "x"]
    submissions = [one | {"name": name} for one, name in zip(provenance["submissions"], names, strict=True)]
    found = entries(bibtex("t", provenance | {"submissions": submissions}))
    assert list(found) == ["t-a-b", "t-a-b-2", "t-a-b-3", "t-a-b-4", "t-x"]


def test_authors_stay_as_they_are_written():
    provenance = make_provenance(example().round, authors=["One and Two", "The {Team}, Inc.", "Ørjan"])
    assert entries(bibtex("t", provenance))["t-a0"]["author"] == (
        r"{One and Two} and {The \textbraceleft{}Team\textbraceright{}, Inc.} and {\O{}rjan}"
    )


@pytest.mark.parametrize(
    "url", ["https://example.org/a%20b#c_d", "https://example.org/{x}^|é", "https://e.org/?a=b&c=~d"]
)
def test_an_address_cannot_end_its_command(url):
    (one, *_) = example().provenance["submissions"]
    (entry,) = entries(bibtex("t", example().provenance | {"submissions": [one | {"url": url}]})).values()
    inner = re.fullmatch(r"\\url\{(.*)\}", entry["howpublished"])[1]
    assert not set(inner) & set("{}\\^|")
    assert inner.isascii()


def test_descriptions_of_several_lines_are_one():
    (one, *_) = example().provenance["submissions"]
    text = bibtex("t", example().provenance | {"submissions": [one | {"description": "One\n\n  two}\n@misc{x,"}]})
    assert [entry["note"] for entry in entries(text).values()] == [
        r"Attack. One two\textbraceright{} @misc\textbraceleft{}x,"
    ]


# --- compiled


def latex(*command, folder):
    program = shutil.which(command[0])
    if program is None:
        if os.environ.get("HARNESS_REQUIRE_LATEX") == "1":
            pytest.fail(f"{command[0]} is not installed (HARNESS_REQUIRE_LATEX=1)", pytrace=False)
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, check=False, timeout=120)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    return said


PDFLATEX = ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape")


@pytest.mark.parametrize("nasty", ["", NASTY], ids=["plain", "nasty"])
def test_the_document_compiles(tmp_path, nasty):
    for name, text in latex_files(nasty_board(nasty), "tiny").items():
        (tmp_path / name).write_text(text)
    assert "Output written on leaderboard.pdf" in latex(*PDFLATEX, "leaderboard.tex", folder=tmp_path)


def test_every_letter_with_an_accent_compiles(tmp_path):
    letters = latex_text("".join(map(chr, range(0xA0, 0x180))))
    document = latex_files(board_of(example()), "tiny")["leaderboard.tex"].partition(r"\input")[0]
    (tmp_path / "letters.tex").write_text(f"{document}{letters}\n\\end{{document}}\n")
    latex(*PDFLATEX, "letters.tex", folder=tmp_path)


def test_the_bibliography_is_read_by_bibtex(tmp_path):
    provenance = make_provenance(example().round, authors=[NASTY, "One and Two"])
    submissions = [one | {"description": NASTY, "name": f"{one['name']}{NASTY}"} for one in provenance["submissions"]]
    (tmp_path / "methods.bib").write_text(bibtex("t", provenance | {"submissions": submissions}))
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{textcomp}\n\\usepackage{url}\n"
        "\\begin{document}\n\\nocite{*}\n\\bibliographystyle{plain}\n\\bibliography{methods}\n\\end{document}\n"
    )
    latex(*PDFLATEX, "all.tex", folder=tmp_path)
    said = latex("bibtex", "all", folder=tmp_path)
    assert "error" not in said.lower()
    assert "Warning" not in said
    assert "Output written on all.pdf" in latex(*PDFLATEX, "all.tex", folder=tmp_path)
    assert (tmp_path / "all.bbl").read_text().count(r"\bibitem") == 5
