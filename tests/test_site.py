"""The site is whole and harmless before any browser opens it: links lead somewhere, ids are unique, nothing runs or is
styled inline, what strangers wrote is text, and the same evidence gives the same bytes."""

import json
import re
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from browser import MARK
from helpers import make_audits, make_round, score_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from publishing import HOSTILE, hostile_evidence, made_up, publish_evidence

from harness.leaderboard import build_leaderboard
from harness.publish.evidence import Evidence
from harness.publish.gallery import EMPTY
from harness.publish.report import build_report
from harness.publish.site import Publication, render, render_tournament
from harness.publish.site.writing import POLICY, soft, web_address
from harness.scoring import POLICIES, UNKNOWN
from harness.store import Store

VOID = {"meta", "link", "img", "input", "br", "hr", "wbr", "rect", "source"}
DASH = "\N{EN DASH}"
ALLOWED = VOID - {"br", "hr", "input", "source"} | {
    "html", "head", "title", "script", "body", "a", "header", "nav", "main", "footer", "h1", "h2", "h3", "h4", "p",
    "ul", "li", "dl", "dt", "dd", "div", "span", "em", "strong", "small", "code", "pre", "table", "thead", "tbody",
    "tr", "th", "td", "svg", "section", "article", "figure", "figcaption", "details", "summary",
}  # fmt: skip


class Reader(HTMLParser):
    """Elements with their attributes, in order, and the text of a page; what is opened must be closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), "an attribute comes once"
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def find(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    @property
    def text(self):
        return " ".join("".join(self.words).split())


def read(path):
    return Reader(path.read_text())


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pages(folder):
    found = {path.relative_to(folder).as_posix(): read(path) for path in sorted(folder.rglob("*.html"))}
    assert found
    return found


def check_links(folder, every=None):
    """Every link and every picture is there, and so is the id that it names."""
    every = every or pages(folder)
    for name, page in every.items():
        for _, attributes in page.elements:
            for address in (attributes.get("href"), attributes.get("src")):
                if address is None or web_address(address):
                    continue
                parts = urlsplit(address)
                assert not parts.scheme
                assert not parts.netloc
                assert not parts.path.startswith("/")
                target = (folder / name).parent / unquote(parts.path) if parts.path else folder / name
                assert target.is_file(), (name, address)
                if parts.fragment:
                    inside = target.resolve().relative_to(folder.resolve()).as_posix()
                    assert unquote(parts.fragment) in every[inside].ids, (name, address)


def check_harmless(page):
    """Nothing of a page runs or styles but the site's own files."""
    assert {tag for tag, _ in page.elements} <= ALLOWED
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc", "action")]
        assert tag != "script" or re.fullmatch(r"(\.\./)*assets/(site|theme)\.js", attributes["src"])
    (policy,) = [one["content"] for one in page.find("meta") if "http-equiv" in one]
    assert policy == POLICY
    for link in page.find("a"):
        if ":" in link.get("href", "").split("/")[0]:
            assert web_address(link["href"])
            assert link["rel"] == "nofollow noopener noreferrer"


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A site where every word is HOSTILE, twice, under two names."""
    folder = tmp_path_factory.mktemp("hostile")
    with closing(Store(folder / "store")) as store:
        evidence = hostile_evidence(store)
        names = {number: f"class {number}{HOSTILE}" for number in range(5)}
        render(
            [publish_evidence(evidence, store, folder / "site", slug, class_names=names) for slug in "ab"],
            folder / "site",
        )
    return folder / "site"


def test_a_hostile_word_is_text_on_every_page(hostile):
    found = pages(hostile)
    assert len(found) == 1 + 2 * (5 + 7 + 3 * 3)
    for page in found.values():
        check_harmless(page)
    shown = " ".join(page.text for page in found.values())
    starts = ("made up", "pictures", "a0", "d2", "i3", "gone", "reason", "remedy", "label", "class 2")
    for start in (*starts, "author", "description", "about", "container"):
        assert f"{start}{HOSTILE}" in shown, start
    assert "{{7*7}}" in shown, "templates do not read what they show"


def test_every_link_of_a_hostile_site_leads_to_what_it_names(hostile):
    check_links(hostile)


def test_ids_are_unique_and_without_blanks(hostile):
    for page in pages(hostile).values():
        assert len(page.ids) == len(set(page.ids))
        assert all(re.fullmatch(r"[\w.~-]+", one, re.ASCII) for one in page.ids)


def test_only_addresses_of_the_web_are_links(hostile):
    links = [link["href"] for link in read(hostile / "a" / "submissions.html").find("a") if "rel" in link]
    assert links == [], "javascript:, data: and an address with blanks in it are shown to nobody"


def test_file_names_are_our_own(hostile):
    names = [path.relative_to(hostile).as_posix() for path in hostile.rglob("*")]
    assert all(re.fullmatch(r"[a-z0-9./-]+", name) for name in names)


def test_what_moves_a_cursor_or_turns_text_is_not_shown(hostile):
    for path in hostile.rglob("*.html"):
        assert not set(path.read_text()) & set("\x00\x07\x08\x1b\u202e\u2066\ufeff")
    assert "red\ufffdtxet" in read(hostile / "a" / "submissions.html").text


def test_the_same_evidence_gives_the_same_bytes(tmp_path, store):
    evidence = hostile_evidence(store)
    for name in "ab":
        render([publish_evidence(evidence, store, tmp_path / name, "t")], tmp_path / name)
    one, other = (files_of(tmp_path / name) for name in "ab")
    assert one == other


@given(table=tables(min_attacks=1).filter(lambda table: table.defenses), rules=st.sampled_from(sorted(POLICIES)))
@settings(max_examples=12)
def test_any_round_makes_a_site_without_loose_ends(table, rules):
    round_, audits = replace(make_round(table), rules=rules), make_audits(table)
    evidence = Evidence(round_, table, audits, (), {})
    board = build_leaderboard(round_, table, audits, rules)
    with TemporaryDirectory() as folder:
        render([Publication("any", evidence, board, build_report(evidence))], Path(folder))
        for page in pages(Path(folder)).values():
            check_harmless(page)
        check_links(Path(folder))


def test_the_numbers_of_a_page_are_those_of_the_board(tmp_path, store):
    publication = publish_evidence(made_up(store), store, tmp_path, "t")
    render([publication], tmp_path)
    text = read(tmp_path / "t" / "index.html").text
    for role in ("defenses", "attacks", "targeted_attacks"):
        for row in publication.board[role]:
            low, high = row["interval"]
            first, last = row["rank_interval"]
            places = f"{first}{DASH}{last}" if first < last else f"{first}"
            shown = f"{row['normalised']:.3f}{low:.3f}{DASH}{high:.3f} {row['tier']} {places} {row['score']} "
            assert shown in text
            assert f"{row['worst_case']['normalised']:.3f}" in text
            for one in row["per_epsilon"].values():
                assert f"{one['normalised']:.3f}" in text
    assert publication.board["missing_output_policy"] in text
    links = [link["aria-label"] for link in read(tmp_path / "t" / "index.html").find("a") if "see images" in str(link)]
    counts = publication.board["matrices"]["accuracy_on_attacks"]
    assert f"a1 against d2: {counts[1][2]} of 14, see images" in links
    assert len(links) == 2 * 3 + 3 + 3


def test_rows_keep_their_addresses(tmp_path, store):
    publication = publish_evidence(made_up(store), store, tmp_path, "t")
    render([publication], tmp_path)
    for page in ("index.html", "submissions.html"):
        assert {"defense-d0", "defense-d1", "attack-a0", "targeted_attack-a2"} <= set(read(tmp_path / "t" / page).ids)


def test_a_cell_shows_every_image_once(tmp_path, store):
    evidence = made_up(store, epsilons=1, images=60, size=(4, 4))
    publication = publish_evidence(evidence, store, tmp_path, "t")
    render([publication], tmp_path)
    for attack, name in enumerate(evidence.table.attacks):
        (path,) = tmp_path.glob(f"t/gallery/*attack-{name}-d1-*.html")
        page = read(path)
        shown = [link["href"].split("-")[0] for link in page.find("a") if re.match(r"i\d+-", link["href"])]
        assert sorted(shown) == sorted(evidence.table.images)
        correct = int((evidence.table.labels[attack, 0, 1] == evidence.table.true_labels).sum())
        assert f"labels {correct} of 60 images" in page.text
        assert f"Wrong {60 - correct} " in page.text
        assert len(page.find("img")) <= 3 * 32


@pytest.mark.parametrize("rules", sorted(POLICIES))
def test_a_cell_counts_as_the_heat_map_that_leads_to_it(tmp_path, store, rules):
    """Under the rules of the round; what is not known is neither wrong nor correct."""
    evidence = made_up(store, epsilons=1, images=30, size=(4, 4))
    labels = evidence.table.labels.copy()
    labels[0, 0, 0, :3] = UNKNOWN
    table = replace(evidence.table, labels=labels)
    assert not table.valid.all()
    evidence = replace(evidence, table=table, round=replace(evidence.round, rules=rules))
    publication = publish_evidence(evidence, store, tmp_path, "t")
    render([publication], tmp_path)
    counts = publication.board["matrices"]["accuracy_on_attacks"]
    for (attack, defense), count in np.ndenumerate(counts):
        (path,) = tmp_path.glob(f"t/gallery/attack-a{attack}-d{defense}-*.html")
        text, wrong = read(path).text, 30 - count - 3 * (attack == defense == 0)
        assert f"labels {count} of 30 images" in text
        assert f"Wrong {wrong} " in text
        assert f"Correct {count} " in text
    stand_in = np.argwhere(~table.valid[:, 0])[0][1]
    (path,) = tmp_path.glob(f"t/gallery/i{stand_in}-*.html")
    assert ("the clean image stands in" in read(path).text) == (rules == "fair")
    assert ("shown to nobody" in read(path).text) == (rules != "fair")


def test_a_submission_may_be_called_as_a_part_of_the_page(tmp_path, store):
    evidence = made_up(store, attacks=4)
    table = replace(evidence.table, attacks=("ranking", "submissions", "x", "x-name"))
    attacks = (replace(one, name=name) for one, name in zip(evidence.round.attacks, table.attacks, strict=True))
    evidence = replace(evidence, table=table, round=replace(evidence.round, attacks=tuple(attacks)))
    render([publish_evidence(evidence, store, tmp_path, "t")], tmp_path)
    for page in pages(tmp_path).values():
        assert len(page.ids) == len(set(page.ids))
    check_links(tmp_path)


def test_what_a_defense_said_is_told_apart_by_more_than_colour(tmp_path, store):
    labels = np.array([[[[1, 2, 3, -1]]], [[[1, 2, 3, -1]]]])
    evidence = made_up(store, attacks=2, epsilons=1, defenses=1, images=4)
    evidence = replace(evidence, table=replace(evidence.table, labels=labels.astype(np.int32)))
    render([publish_evidence(evidence, store, tmp_path, "t")], tmp_path)
    kinds = []
    for number in range(4):
        (path,) = tmp_path.glob(f"t/gallery/i{number}-*.html")
        cells = [one["class"] for one in read(path).find("td") if "class" in one]
        kinds.append(cells[1:])
    assert kinds == [["right", "right"], ["wrong", "hit"], ["wrong", "wrong"], ["none", "none"]]
    style = (tmp_path / "assets" / "site.css").read_text()
    assert all(f".{kind}::before" in style for kind in ("right", "wrong", "hit", "none"))


def test_names_of_classes_stand_beside_labels(tmp_path, store):
    publication = publish_evidence(made_up(store), store, tmp_path, "t", class_names={1: "cat", 2: "dog"})
    render([publication], tmp_path)
    assert "1 cat" in read(tmp_path / "t" / "gallery.html").text
    assert "2 dog" in read(next((tmp_path / "t" / "gallery").glob("i0-*.html"))).text


def test_a_board_with_holes_says_so_on_every_page(tmp_path, store):
    evidence = made_up(store)
    labels = evidence.table.labels.copy()
    labels[0, 0, 0, :2] = UNKNOWN
    evidence = replace(evidence, table=replace(evidence.table, labels=labels))
    render([publish_evidence(evidence, store, tmp_path, "t")], tmp_path)
    for page in pages(tmp_path).values():
        assert "Incomplete: 2 answers are not known yet." in page.text
        headings = [one["aria-labelledby"] for one in page.find("div") if "aria-labelledby" in one]
        assert page.text.count("(incomplete)") == len(headings), "every table says it, too"
    assert "not known yet" in read(next((tmp_path / "t" / "gallery").glob("i0-*.html"))).text


def test_without_pictures_cells_lead_nowhere(tmp_path, store):
    publication = replace(publish_evidence(made_up(store), store, tmp_path, "t"), gallery=EMPTY)
    render([publication], tmp_path)
    assert not (tmp_path / "t" / "gallery").exists()
    assert "No pictures were published" in read(tmp_path / "t" / "gallery.html").text
    check_links(tmp_path)


def test_a_tournament_is_written_alone_and_knows_nothing_of_others(tmp_path, store):
    publication = publish_evidence(made_up(store), store, tmp_path / "one", "t")
    render_tournament(publication, tmp_path / "one" / "t")
    render([publication, replace(publication, slug="u")], tmp_path / "two")
    for path in (tmp_path / "one" / "t").rglob("*.html"):
        assert path.read_bytes() == (tmp_path / "two" / "t" / path.relative_to(tmp_path / "one" / "t")).read_bytes()


def test_pages_have_no_dates_and_no_machine(tmp_path, store):
    provenance = {"began": "2031-02-03T04:05:06", "machine": {"host": "mill", "system": "Plan 9"}, "submissions": []}
    evidence = replace(made_up(store), provenance=provenance)
    render([publish_evidence(evidence, store, tmp_path, "t")], tmp_path)
    for path in tmp_path.rglob("*.html"):
        assert not re.search("2031|04:05|mill|Plan 9", path.read_text())


def test_downloads_are_offered(tmp_path, store):
    publication = publish_evidence(made_up(store), store, tmp_path, "t", downloads=("tables/leaderboard.json",))
    (tmp_path / "t" / "tables").mkdir()
    (tmp_path / "t" / "tables" / "leaderboard.json").write_text(json.dumps(publication.board))
    render([publication], tmp_path)
    assert "tables/leaderboard.json" in [link["href"] for link in read(tmp_path / "t" / "index.html").find("a")]
    check_links(tmp_path)


def test_the_assets_ask_for_nothing():
    folder = Path(__file__).parents[1] / "harness" / "publish" / "site" / "static"
    for path in folder.iterdir():
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|//\w|@import|url\(|fetch\(|import |eval|innerHTML|XMLHttp", text), path


def test_a_site_of_many_cells_has_no_page_for_each(tmp_path):
    table = score_table(np.ones((50, 1, 50, 1)))
    evidence = Evidence(make_round(table), table, make_audits(table), (), {})
    board = build_leaderboard(evidence.round, table, evidence.audits, "fair")
    gallery = replace(EMPTY, images=table.images, attacks=50, epsilons=1)
    render_tournament(Publication("t", evidence, board, gallery=gallery), tmp_path)
    assert [path.name[:3] for path in (tmp_path / "gallery").iterdir()] == ["i0-"]


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("https://example.org/a?b=c&d#e", True),
        ("http://example.org", True),
        ("HTTPS://EXAMPLE.ORG", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        ("java\nscript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("https://", False),
        ("https:example.org", False),
        ("//example.org", False),
        ("data:text/html,x", False),
        ("https://[", False),
        ("https://exa mple.org", False),
        ("https://example.org/\u202egnp", False),
        ("", False),
        (None, False),
    ],
)
def test_addresses(text, taken):
    assert web_address(text) == (text if taken else None)


@given(st.text())
def test_softened_text_is_the_same_text(text):
    reader = Reader(str(soft(text)))
    assert {tag for tag, _ in reader.elements} <= {"wbr"}
    shown = "".join(reader.words)
    assert len(shown) == len(text)
    assert all(a == b or b == "\ufffd" for a, b in zip(text, shown, strict=True))


def test_the_mark_of_hostile_scripts_is_in_the_hostile_word():
    """Else the tests in the browser could not fail."""
    assert MARK in HOSTILE


def test_a_cell_of_very_many_images_links_some_and_counts_the_rest(tmp_path, store, monkeypatch):
    monkeypatch.setattr("harness.publish.site.pictures.MAX_LINKS", 3)
    evidence = made_up(store, attacks=1, epsilons=1, defenses=1, images=40, size=(4, 4))
    evidence = replace(evidence, table=replace(evidence.table, labels=np.full((1, 1, 1, 40), 3, dtype=np.int32)))
    render([publish_evidence(evidence, store, tmp_path, "t")], tmp_path)
    page = read(next((tmp_path / "t" / "gallery").glob("attack-*.html")))
    assert len([link for link in page.find("a") if re.match(r"i\d+-", link["href"])]) == 24 + 3
    assert "16 more" in page.text
    assert "and 13 more, which are among all images." in page.text
