"""A code host renders the published page: every table with all of its rows and cells, every name as the text that it
is, and nothing that anybody wrote as a mark, a link or HTML."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers import make_audits, make_round, score_table
from markdown_it import MarkdownIt

from harness.errors import printable
from harness.leaderboard import build_leaderboard
from harness.publish.markdown import markdown
from harness.records import Role
from harness.round import Unavailable

PLAIN = {"h1", "h2", "p", "code", "strong", "table", "thead", "tbody", "tr", "th", "td"}


class Page(HTMLParser):
    """tags: all that there are. tables: of rows of the texts of their cells. text: all of it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.text, self.inside = set(), [], "", False
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        self.text += data
        if self.inside:
            self.tables[-1][-1][-1] += data


def board_of(names, **about):
    labels = np.random.default_rng(1).integers(1, 3, (len(names), 1, 2, 6))
    table = score_table(labels, true=[1, 1, 1, 2, 2, 2], target=[2, 2, 2, 1, 1, 1], untargeted=len(names) - 1)
    table = replace(table, attacks=tuple(names))
    round_ = replace(make_round(table), **about)
    return build_leaderboard(round_, table, make_audits(table), "fair")


def test_every_ranking_is_a_table_with_all_of_its_rows():
    board = board_of(["one", "two", "aim"])
    page = Page(markdown(board))
    assert page.tags <= PLAIN
    rankings = [board[kind] for kind in ("defenses", "attacks", "targeted_attacks")]
    assert [[row[1] for row in rows[1:]] for rows in page.tables] == [
        [row["name"] for row in rows] for rows in rankings
    ]
    for rows, ranking in zip(page.tables, rankings, strict=True):
        assert len({len(row) for row in rows}) == 1
        for cells, row in zip(rows[1:], ranking, strict=True):
            assert f"{row['normalised']:.3f}" in cells


HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "![x](http://evil.example)",
    "a | b | c", "`code`", "**bold** _it_ ~~gone~~", "# no heading", "- no list", "&lt;b&gt; &amp;", "end\\",
    "<https://evil.example>", "a\nb", "---", "1. one", "> quote", "[x]: http://evil.example",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_as_it_is(name):
    """Names are judged where they come in; should one get by, the page still shows it as it is."""
    board = board_of([name, "two", "aim"], unavailable=(Unavailable(name, Role.DEFENSE, name, "harness weights list"),))
    page = Page(markdown(board | {"tournament": name}))
    assert page.tags <= PLAIN
    shown = " ".join(printable(name).split())
    attacks, unavailable = page.tables[1], page.tables[-1]
    assert shown in [row[1] for row in attacks[1:]]
    assert [row[1:3] for row in unavailable[1:]] == [[shown, shown]]
    assert page.text.lstrip().startswith(shown)
