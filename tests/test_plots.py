"""Figures are the same bytes for the same evidence, say what they show, and do nothing that a name asks for."""

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from helpers import make_audits, make_round, score_table, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.transforms import Bbox
from PIL import Image

from harness.index import CallRecord
from harness.leaderboard import build_leaderboard
from harness.publish.evidence import Evidence
from harness.publish.plots import draw, words
from harness.publish.plots.forest import rank_plot
from harness.publish.plots.heatmap import BLACK, COLOURS, MIDDLE, WHITE, heat_map, luminance
from harness.publish.plots.labels import MARK, place_labels
from harness.publish.plots.style import DARK, LIGHT, NAME_LENGTH, look, short_names, shorten, widest, write_figure
from harness.publish.report import build_report
from harness.publish.similarity import Similarity
from harness.records import Role, Verdict
from harness.scoring import UNKNOWN

HOSTILE = (
    "$\\frac{1}{$", "<script>alert(1)</script>", "a -- b --> c", "line\nbreak\ttab\x1b[31m", "\u202egnp.exe\u200b",
    "\U0001f600 漢字 \u0627\u0644", "x" * 64, "&amp;\"'", "\\", "%s{}", "_nolegend_", "-" * 5,
)  # fmt: skip


def make_table(seed=0, attacks=3, targeted=1, defenses=3, images=12, epsilons=2):
    generator = np.random.default_rng(seed)
    return score_table(
        generator.integers(1, 4, (attacks + targeted, epsilons, defenses, images)),
        clean=np.where(generator.random((defenses, images)) < 0.8, 1, 2),
        untargeted=attacks,
    )


def make_evidence(table):
    """With a ledger and perturbations of which the first two point the same way."""
    round_ = make_round(table)
    generator = np.random.default_rng(1)
    ledger = [
        CallRecord(key, Role.ATTACK, attack.player, "", Verdict.OK, 0, generator.uniform(1, 9), 1, 12, {}, 0, "", "")
        for attack in round_.attacks
        for keys in attack.units
        for key in keys
    ]
    ledger += [
        CallRecord(one.name, Role.DEFENSE, one.player, "", Verdict.OK, 0, generator.uniform(1, 9), 1, 12, {}, 0, "", "")
        for one in round_.defenses
    ]
    changes = generator.integers(-4, 5, (len(round_.attacks), 50))
    changes[:2] = changes[:1]
    similarity = Similarity(table.attacks, table.epsilons[-1], ("i0",), (changes @ changes.T)[None].astype(np.int64))
    return Evidence(round_, table, make_audits(table), tuple(ledger), {}, similarity)


def draw_all(table, folder):
    evidence = make_evidence(table)
    board = build_leaderboard(evidence.round, table, evidence.audits, "fair")
    report = build_report(evidence)
    return draw(evidence, board, report, folder), board, report


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    return folder, *draw_all(make_table(), folder)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- files


def test_each_figure_is_written_for_both_grounds(drawn):
    folder, figures, _, _ = drawn
    stems = [figure.stem for figure in figures]
    assert stems == [
        "accuracy", "hits", "ranks-defenses", "ranks-attacks", "ranks-targeted-attacks", "epsilon-defenses",
        "epsilon-attacks", "epsilon-targeted-attacks", "cost-defenses", "cost-attacks", "difficulty",
        "likeness-attacks", "likeness-defenses", "game",
    ]  # fmt: skip
    expected = {f"{stem}{end}" for stem in stems for end in (".svg", ".png", "-dark.svg")}
    assert set(contents(folder)) == expected


def test_the_same_evidence_gives_the_same_bytes_whatever_else_was_set(drawn, tmp_path):
    folder, *_ = drawn
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "svg.hashsalt": "other", "axes.grid": True}):
        draw_all(make_table(), tmp_path)
    again = contents(tmp_path)
    assert {name for name, data in contents(folder).items() if again[name] != data} == set()


def test_the_settings_of_others_are_as_they_were(tmp_path):
    before = dict(mpl.rcParams)
    draw_all(make_table(attacks=1, targeted=0, defenses=1, epsilons=1), tmp_path)
    assert dict(mpl.rcParams) == before


def test_an_svg_is_well_formed_and_has_no_text_script_date_or_address(drawn):
    folder, *_ = drawn
    for path in folder.glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert not tags & {"text", "script", "a", "foreignObject", "date", "image"}
        for element in root.iter():
            for name, value in element.attrib.items():
                assert not name.startswith("on")
                assert not name.endswith("href") or value.startswith("#")
        assert "url(http" not in path.read_text()


def test_sizes_are_those_of_the_files(drawn):
    folder, figures, _, _ = drawn
    for figure in figures:
        root = ElementTree.parse(folder / f"{figure.stem}.svg").getroot()
        points = [float(root.attrib[side].removesuffix("pt")) for side in ("width", "height")]
        assert [figure.width, figure.height] == pytest.approx([length * 96 / 72 for length in points], abs=0.6)
        with Image.open(folder / f"{figure.stem}.png") as image:
            assert list(image.size) == pytest.approx([length * 150 / 72 for length in points], abs=1)


def test_the_two_grounds_are_what_they_are_said_to_be(drawn):
    folder, figures, _, _ = drawn
    with Image.open(folder / f"{figures[0].stem}.png") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    for figure in figures:
        light, dark = ((folder / f"{figure.stem}{end}.svg").read_text() for end in ("", "-dark"))
        assert LIGHT.ground in light
        assert DARK.ground in dark
        assert not any(colour in dark for colour in LIGHT.all)


def test_what_is_darkened_is_what_would_be_drawn_in_dark_colours(tmp_path):
    """But for the names of parts, which are made of their colours."""
    evidence = make_evidence(make_table())
    board = build_leaderboard(evidence.round, evidence.table, evidence.audits, "fair")
    for theme, stem in ((LIGHT, "light"), (DARK, "dark")):
        with look(theme):
            write_figure(rank_plot(theme, theme.colours[Role.ATTACK], board["attacks"]), tmp_path, f"ranks-{stem}")
            write_figure(heat_map(theme, np.eye(2), ["a", "b"], ["c", "d"], "share"), tmp_path, f"map-{stem}")
    for kind in ("ranks", "map"):
        ours, theirs = (
            re.sub(r'"#?m[0-9a-f]{10}"', "m", (tmp_path / f"{kind}-{stem}.svg").read_text())
            for stem in ("light-dark", "dark")
        )
        assert ours == theirs


def test_drawing_leaves_the_global_state_of_matplotlib_alone():
    code = "import sys, harness.publish.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(max_examples=6)
@given(tables(labels=st.sampled_from([UNKNOWN, -1, 1, 2])))
def test_any_table_can_be_drawn(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("any")
    figures, *_ = draw_all(table, folder)
    assert len(contents(folder)) == 3 * len(figures)
    assert all(figure.alt and figure.title for figure in figures)


def test_one_budget_has_no_curve(tmp_path):
    figures, *_ = draw_all(make_table(epsilons=1), tmp_path)
    assert not [figure.stem for figure in figures if figure.stem.startswith("epsilon")]


@pytest.mark.parametrize("count", [3, 30, 150])
def test_a_heat_map_of_any_size_fits_a_page(count):
    with look(LIGHT):
        names = [f"submission {number}" for number in range(count)]
        width, height = heat_map(LIGHT, np.eye(count), names, names, "share").get_size_inches()
    assert max(width, height) < 20


# --- colours


def contrast(one, other):
    """Web Content Accessibility Guidelines 2.1, definition of contrast ratio."""
    light, dark = sorted((luminance(to_rgb(colour)) for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_known_pairs():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.ground)
def test_text_and_marks_stand_out_from_their_ground(theme):
    assert contrast(theme.ink, theme.ground) >= 4.5
    assert min(contrast(colour, theme.ground) for colour in theme.colours.values()) >= 3


def test_one_grey_would_not_do_for_both_grounds():
    greys = [f"#{level:02x}{level:02x}{level:02x}" for level in range(256)]
    assert max(min(contrast(grey, theme.ground) for theme in (LIGHT, DARK)) for grey in greys) < 4.5


def test_every_number_can_be_read_on_its_cell_and_colours_grow_lighter_in_grey():
    cells = [luminance(colour[:3]) for colour in mpl.colormaps[COLOURS](np.linspace(0, 1, 256))]
    assert all(before < after for before, after in itertools.pairwise(cells))
    for colour in mpl.colormaps[COLOURS](np.linspace(0, 1, 256)):
        ink = WHITE if luminance(colour[:3]) < MIDDLE else BLACK
        assert contrast(ink, colour[:3]) >= 4.5


# --- names


def test_names_that_want_something_are_drawn_as_they_are(tmp_path):
    table = make_table(attacks=11, defenses=12, images=4, epsilons=1)
    table = replace(table, attacks=HOSTILE, defenses=HOSTILE)
    figures, *_ = draw_all(table, tmp_path)
    for figure in figures:
        assert not re.search(r"[\x00-\x1f\u202e\u200b]", figure.alt)
        ElementTree.parse(tmp_path / f"{figure.stem}.svg")


@given(st.text(max_size=90))
def test_a_name_is_one_short_line(name):
    text = shorten(name)
    assert len(text) <= NAME_LENGTH
    assert text.isprintable()
    if len(name) > NAME_LENGTH and name.isascii() and name.isprintable():
        assert name.startswith(text.split("…")[0])
        assert name.endswith(text.split("…")[1])


@given(st.lists(st.sampled_from(["a" * 40, "a" * 41, "b", "a" * 30 + "b" + "a" * 30]), unique=True))
def test_names_that_differ_do_so_when_they_are_short(names):
    assert len(set(short_names(names))) == len(names)


def test_the_width_of_a_name_is_that_of_its_letters():
    assert widest(["ii", "WWWW"]) == pytest.approx(4 * widest(["W"]), rel=0.05)
    assert widest(["W"], 18) == pytest.approx(2 * widest(["W"], 9), rel=0.05)
    assert widest([]) == 0


# --- labels

POINTS = st.tuples(st.floats(20, 380), st.floats(20, 280))


@settings(max_examples=25)
@given(st.lists(POINTS, max_size=12), st.integers(20, 120))
def test_labels_cover_nothing(marks, width):
    frame, line = Bbox([[0, 0], [400, 300]]), Bbox([[0, 150], [400, 150]])
    sizes = [(float(width), 10.0)] * len(marks)
    found = place_labels(marks, sizes, range(len(marks)), frame, [line])
    boxes = {number: spot.box(marks[number], sizes[number]) for number, spot in found.items()}
    for number, box in boxes.items():
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1
        assert not box.overlaps(line)
        for x, y in marks:
            assert not box.overlaps(Bbox.from_bounds(x - MARK, y - MARK, 2 * MARK, 2 * MARK))
        assert not any(box.overlaps(boxes[other]) for other in boxes if other != number)
        trail = found[number].line(marks[number])
        assert not any(point.overlaps(boxes[other]) for point in trail for other in boxes if other != number)


def test_a_label_with_room_stands_beside_its_mark_and_one_without_is_left_out():
    frame = Bbox([[0, 0], [400, 300]])
    assert place_labels([(200, 150)], [(60, 10)], [0], frame)[0].offset == (7, 0)
    assert place_labels([(200, 150)], [(600, 10)], [0], frame) == {}


# --- words


@cache
def share(text):
    return f"{100 * text:.1f} %"


def test_the_words_name_the_extremes(drawn):
    _, figures, board, report = drawn
    alt = {figure.stem: figure.alt for figure in figures}
    counts = board["matrices"]["accuracy_on_attacks"] + board["matrices"]["accuracy_on_targeted_attacks"]
    assert f"The lowest is {share(min(map(min, counts)) / 24)}" in alt["accuracy"]
    assert f"{share(max(map(max, board['matrices']['hit_target_class'])) / 24)}, of a3 against" in alt["hits"]
    best = board["attacks"][0]
    low, high = best["interval"]
    assert f"{best['name']} with {share(best['normalised'])} ({share(low)} to {share(high)})" in alt["ranks-attacks"]
    top = max(report["curves"]["defenses"], key=lambda row: row["mean"][-1]["normalised"])
    assert (
        f"At 5 the highest accuracy over all attacks is {share(top['mean'][-1]['normalised'])}"
        in alt["epsilon-defenses"]
    )
    undefended = sum(row["undefended"] for row in report["images"])
    assert f"{undefended} are lost by every defense" in alt["difficulty"]
    assert "The most alike are a0 and a1 with 1.00; from 0.90 on there is 1 pair of clones." in alt["likeness-attacks"]
    assert f"{share(board['game']['value'])} of the images" in alt["game"]
    for row in report["costs"]:
        if row["type"] == "defense" and row["on_front"]:
            assert f"{row['name']} ({share(row['score'])} in" in alt["cost-defenses"]


@pytest.mark.parametrize(
    ("interval", "told"),
    [([1, 5], "cannot be told from 4 of 6 others"), ([1, 1], "stands apart"), ([1, 7], "told from 6 of 6 others")],
)
def test_of_one_tier_some_may_be_told_from_the_best(interval, told):
    """As the rank interval says, which leaves out those that are worse by a test."""
    row = {"name": "a", "tier": 1, "normalised": 0.9, "interval": [0.7, 1.0], "rank_interval": interval}
    assert told in words.about_ranks("attacks", [row] * 7)


def test_of_many_some_are_named_and_the_rest_are_counted():
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_a_figure_of_others_is_written_without_clock_and_program(tmp_path):
    with look(LIGHT):
        write_figure(heat_map(LIGHT, np.eye(2), ["a", "b"], ["c", "d"], "share"), tmp_path, "one")
    assert "matplotlib.org" not in (tmp_path / "one.svg").read_text()
    assert b"atplotlib" not in (tmp_path / "one.png").read_bytes()
