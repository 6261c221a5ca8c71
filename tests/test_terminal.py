"""A person sees what failed and why, and nothing that a submission wrote can colour, clear or forge the screen."""

import io
import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import make_audits, make_player, make_round, score_table
from rich.console import Console

from harness.grid import Column
from harness.index import CallRecord
from harness.leaderboard import build_leaderboard
from harness.plan import attack_call
from harness.records import Fault, ImageAudit, Outcome, Role, Verdict
from harness.round import RoundImage, Unavailable
from harness.runner import Progress
from harness.scoring import UNKNOWN
from harness.terminal import FAILED_SHOWN, Terminal, last_lines, plain_table

CALL = attack_call(make_player("attack", "fgsm"), 16, 0, (RoundImage("img", "s", "c", 1, 2),))

HALF_WAY = Progress(attacked=5, to_attack=10, answered=20, to_answer=40, calls=3, seconds_left=75.0)


class Screen:
    """A terminal, or a file, of `width` columns."""

    def __init__(self, width=100, *, live=False):
        self.file = io.StringIO()
        self.terminal = Terminal(Console(file=self.file, width=width, force_terminal=live, color_system=None))

    @property
    def text(self):
        return self.file.getvalue()


def outcome(verdict=Verdict.OK, log="", images=()):
    return Outcome("key", verdict, 1, 2.34, 0, log, images=images)


def test_each_call_is_a_plain_line_where_there_is_no_terminal():
    screen = Screen()
    with screen.terminal.live():
        screen.terminal.progress(HALF_WAY, (CALL,))
        screen.terminal.ended(CALL, outcome(), HALF_WAY)
    assert screen.text == "fgsm epsilon 16 batch 1: ok in 2.3 s; 3 calls made, about 1:15 to go\n"


@pytest.mark.parametrize(
    ("progress", "end"),
    [
        (Progress(10, 10, 40, 40, 9, 0.0), "all known"),
        (Progress(1, 10, 1, 40, 2, None), "2 calls made"),
        (Progress(1, 10, 1, 40, 2, 3599.6), "2 calls made, about 60:00 to go"),
        (Progress(1, 10, 1, 40, 2, 0.0), "2 calls made, about 0:00 to go"),
    ],
)
def test_what_is_left_to_do(progress, end):
    screen = Screen()
    screen.terminal.ended(CALL, outcome(), progress)
    assert screen.text.endswith(f"; {end}\n")


@pytest.mark.parametrize("live", [False, True])
def test_a_failed_call_shows_its_verdict_its_faults_and_its_last_words(live):
    screen = Screen(live=live)
    images = (ImageAudit("a", "d", Fault.MISSING), ImageAudit("b", "d", Fault.MISSING), ImageAudit("c", "d"))
    log = "first\n\nsecond\nthird\nValueError: no\n\n"
    with screen.terminal.live():
        screen.terminal.ended(CALL, outcome(Verdict.EXIT, log, images), HALF_WAY)
    assert "fgsm epsilon 16 batch 1: exit in 2.3 s (2 missing)" in screen.text
    assert "    ValueError: no" in screen.text
    assert "first" not in screen.text


def test_what_a_submission_says_is_no_markup():
    screen = Screen()
    log = "[bold red]done[/] [link=http://x]y[/link] [/nothing] \\[a] " + "x" * 300
    screen.terminal.ended(CALL, outcome(Verdict.EXIT, log), HALF_WAY)
    assert f"    {log}\n" in screen.text


@pytest.mark.parametrize("log", ["run.py:100: RuntimeWarning", ":smile:", "a path ends here\\"])
def test_what_a_submission_says_stands_there_as_it_was_said(log):
    screen = Screen()
    screen.terminal.ended(CALL, outcome(Verdict.EXIT, log), HALF_WAY)
    assert f"    {log}\n" in screen.text


def test_our_own_failures_are_told_apart():
    screen = Screen()
    for again in (True, False):
        screen.terminal.failed(CALL, OSError("the [disk]"), again)
    first, second = screen.text.splitlines()
    assert first == "fgsm epsilon 16 batch 1: our own side failed (the [disk]); it will be tried again"
    assert second.endswith("given up; run the same command to try again")


def test_bars_show_how_far_the_round_is_and_go_away():
    screen = Screen(live=True)
    with screen.terminal.live():
        screen.terminal.progress(HALF_WAY, (CALL,))
        screen.terminal.progress(HALF_WAY, ())
        screen.terminal.say("a line that stays")
    for words in ("attacks", "answers", "5/10", "20/40", "a line that stays"):
        assert words in screen.text
    before = screen.text
    screen.terminal.progress(HALF_WAY, ())
    assert screen.text == before


def board(incomplete=False):
    table = score_table([[[[1, 3], [1, 1]]], [[[2, 2], [3, 3]]]], true=[1, 1], untargeted=1)
    if incomplete:
        table.labels[0, 0, 0, 0] = UNKNOWN
    return build_leaderboard(make_round(table), table, make_audits(table), "fair")


WIDTHS = [40, 60, 80, 120, 200]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_board_names_everybody_with_a_score(width):
    screen = Screen(width)
    screen.terminal.leaderboard(board())
    text = screen.text
    assert max(map(len, text.splitlines())) <= width
    for title in ("Defenses", "Attacks", "Targeted attacks"):
        assert title in text
    for kind in ("defenses", "attacks", "targeted_attacks"):
        for row in board()[kind]:
            assert re.search(rf"{row['rank']}\s+{row['name']}\s+{row['normalised']:.3f}", text)


def test_rankings_of_nobody_are_left_out_and_an_incomplete_board_says_so():
    screen = Screen()
    screen.terminal.leaderboard(board(incomplete=True) | {"targeted_attacks": []})
    assert "incomplete: 1 answers are not known yet" in screen.text
    assert "Targeted" not in screen.text
    complete = Screen()
    complete.terminal.leaderboard(board())
    assert "incomplete" not in complete.text


def field(count=3, images=40, seed=0):
    """`count` defenses, each a little worse than the one before, against an untargeted and a targeted attack."""
    generator = np.random.default_rng(seed)
    labels = 1 + (generator.random((2, 1, count, images)) < np.linspace(0.05, 0.95, count)[:, None])
    table = score_table(labels, untargeted=1)
    return replace(table, defenses=tuple(f"defense_of_participant_{number:02}" for number in range(count)))


def board_of(table):
    return build_leaderboard(make_round(table), table, make_audits(table), "fair")


def drawn(board, width=100, **options):
    """The lines of a board, without the spaces at their ends."""
    file = io.StringIO()
    Terminal(Console(file=file, width=width, **{"color_system": None} | options)).leaderboard(board)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def headers(lines):
    """The words of the first header: the table of the defenses."""
    line = next(line for line in lines if line.startswith("#"))
    return re.split(r" {2,}", line.replace("0                   1", "bar").replace(" ↑", ""))


DROPPED = ["opponent", "bar", "hardest", "clean", "tier", "ranks", "95 %"]
"""In this order columns go where there is no room."""


def test_columns_go_one_after_the_other_in_a_stated_order():
    seen = [headers(drawn(board_of(field()), width)) for width in range(200, 24, -1)]
    assert all(set(narrower) <= set(wider) for wider, narrower in itertools.pairwise(seen))
    assert seen[0] == ["#", "name", "score", "bar", "95 %", "ranks", "tier", "clean", "hardest", "opponent"]
    left = {header: sum(header in shown for shown in seen) for header in DROPPED}
    assert sorted(DROPPED, key=left.__getitem__) == DROPPED
    assert len(set(left.values())) == len(DROPPED)
    assert seen[-1] == ["#", "name", "score"]


@pytest.mark.parametrize("width", WIDTHS)
def test_what_has_no_room_is_named(width):
    lines = drawn(board_of(field()), width)
    missing = [header for header in DROPPED if header not in headers(lines)]
    told = " ".join(lines).partition("Not shown in this width: ")[2]
    assert all(header in told for header in missing)
    assert bool(told) is bool(missing)


def test_a_name_that_fits_nowhere_is_broken_and_whole():
    table = replace(field(2), defenses=("x" * 64, "y" * 64))
    lines = drawn(board_of(table), 40)
    assert max(map(len, lines)) <= 40
    for letter in "xy":
        found = re.findall(rf"\b{letter}+\b", "\n".join(lines[: lines.index("")]))
        assert sum(map(len, found)) >= 64


@pytest.mark.parametrize("width", WIDTHS)
def test_a_long_ranking_has_all_its_rows_and_its_columns_stand(width):
    board = board_of(field(35))
    lines = drawn(board, width)
    text = "\n".join(lines)
    rows = [line for line in lines if re.match(r" *\d+ +defense_of_participant_\d\d ", line)]
    assert [row.split()[1] for row in rows] == [row["name"] for row in board["defenses"]]
    assert len({re.search(r"\d\.\d{3}", row).start() for row in rows}) == 1
    assert max(map(len, lines)) <= width, text


def test_a_broken_line_stands_between_tiers_and_nowhere_else():
    board = board_of(field(12, 200))
    tiers = [row["tier"] for row in board["defenses"]]
    assert 1 < len(set(tiers)) < 12
    lines = drawn(board)
    names = [re.search(r"participant_(\d+)|╌", line) for line in lines[: lines.index("")]]
    places = [found.group() for found in names if found and "share a tier" not in found.string]
    expected = []
    for row, below in zip(board["defenses"], [*board["defenses"][1:], None], strict=True):
        expected.append(row["name"].removeprefix("defense_of_"))
        expected += ["╌"] if below and below["tier"] != row["tier"] else []
    assert places == expected


def test_what_would_separate_the_first_two_is_said_where_they_share_a_tier():
    board = board_of(field(12))
    first, second = board["defenses"][:2]
    assert first["tier"] == second["tier"]

    def told(needed, **keys):
        rows = [first | {"images_to_next": needed}, second | {"rank": 2} | keys, *board["defenses"][2:]]
        changed = board | {"defenses": rows}
        return " ".join(line for line in drawn(changed, 300) if "share a tier" in line)

    tied = told(None, rank=1)
    assert tied.endswith("share a tier: on these 40 images there is no difference between them")
    assert told(None).endswith("share a tier: a single image says nothing of others")
    assert told(70).endswith("it would take about 70 images to tell these two apart, 40 were played")
    assert told(30).endswith("alone they could be told apart, among so many pairs they cannot")
    assert told(30, rank_interval=[2, 5]).endswith("they are told apart, but the first not from all below it")
    assert f"#1 {first['name']} and #2 {second['name']}" in told(70)
    apart = board | {"defenses": [first, second | {"tier": 2}]}
    assert "share a tier" not in "".join(drawn(apart))


def test_the_bar_is_the_interval_on_a_scale_from_0_to_1():
    rows = [
        {"interval": [0.0, 1.0], "normalised": 0.5},
        {"interval": [0.25, 0.25], "normalised": 0.25},
        {"interval": [0.9, 1.0], "normalised": 1.0},
    ]
    base = board_of(field())
    board = base | {"defenses": [old | new for old, new in zip(base["defenses"], rows, strict=True)]}
    bars = [re.search(r"[·─●]{21}", line).group() for line in drawn(board, 200) if "defense_of" in line and "●" in line]
    assert bars[:3] == ["──────────●──────────", "·····●···············", "··················──●"]


def test_no_colour_where_none_is_wanted_or_known(monkeypatch):
    def escapes(**options):
        return re.findall(r"\x1b\[[\d;]*m", "\n".join(drawn(board_of(field(12)), force_terminal=True, **options)))

    def colours(codes):
        return [code for code in codes if {"30", "31", "32", "33", "34", "35", "36"} & set(re.findall(r"\d+", code))]

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert escapes(color_system=None) == []
    assert colours(escapes(color_system="standard"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours(escapes(color_system="standard"))


def test_an_incomplete_board_is_marked_at_every_ranking():
    titles = [line for line in drawn(board(incomplete=True)) if line.endswith("(incomplete)")]
    assert [title.split(":")[0] for title in titles] == ["Defenses", "Attacks", "Targeted attacks"]


HOSTILE = "\x1b[31m[red]x[/red]\r:smile:\u202e"


def test_hostile_names_stand_there_as_they_are():
    table = replace(field(2), defenses=(HOSTILE, "two"), attacks=(f"{HOSTILE}a", f"{HOSTILE}b"))
    lines = drawn(board_of(table), 200)
    assert all(char.isprintable() for line in lines for char in line)
    assert sum("\ufffd[31m[red]x[/red]\ufffd:smile:\ufffd" in line for line in lines) >= 3


def test_plain_characters_where_the_terminal_knows_no_others():
    class Ascii(io.StringIO):
        encoding = "ascii"

    file = Ascii()
    Terminal(Console(file=file, width=150)).leaderboard(board_of(field()))
    assert file.getvalue().isascii()
    assert "score ^" in file.getvalue()


def test_a_table_names_what_it_leaves_out():
    columns = [
        Column("name", ["someone"]),
        Column("count", ["1234567"], number=True),
        Column("words", ["a text that takes much room"], drop=1),
    ]
    for width, said in ((80, ""), (30, "left out, for want of width: words\n")):
        screen = Screen(width)
        screen.terminal.table("A title", columns)
        assert "1234567" in screen.text
        assert screen.text.endswith(said)
        assert ("much room" in screen.text) is not said


def test_a_column_is_broken_only_where_nothing_can_be_left_out():
    screen = Screen(24)
    screen.terminal.table("A title", [Column("name", ["a" * 30]), Column("count", ["1234567"], number=True)])
    assert "1234567" in screen.text
    assert screen.text.count("a" * 5) >= 2
    assert max(map(len, screen.text.splitlines())) <= 24


def test_a_table_of_nobody_is_its_header():
    screen = Screen()
    screen.terminal.table("A title", [Column("name", []), Column("count", [], number=True)])
    assert screen.text.split() == ["A", "title", "name", "count", "─" * 12]


def test_what_would_help_can_be_copied_from_a_narrow_screen():
    screen = Screen(40)
    screen.terminal.unavailable(
        [Unavailable("x", Role.DEFENSE, "its weights [b]", "harness weights fetch " + "w" * 60)]
    )
    line = f"x (defense) is unavailable: its weights [b]; remedy: harness weights fetch {'w' * 60}\n"
    assert screen.text == line


def test_numbers_are_never_cut():
    screen = Screen(30)
    table = plain_table("title", [("what", "text"), ("count", "number")])
    table.add_row("a very long text that does not fit beside its number", "1234567")
    screen.terminal.console.print(table)
    assert "1234567" in screen.text


@pytest.mark.parametrize("title", ["[/red] final", "[bold]", "50 [%]", ":smile:", "back\\slash"])
def test_a_title_is_no_markup(title):
    """A tournament may be called anything; `[/red]` ended `harness plan` with a bug report."""
    screen = Screen()
    screen.terminal.console.print(plain_table(title, [("a column as wide as it", "name")]))
    assert title in screen.text


# --- failures at the end


def failed_call(number=1, log="", **fields):
    values = {
        "key": "k", "role": Role.ATTACK, "player": "p", "label": f"call {number}", "verdict": Verdict.EXIT,
        "exit_code": 2, "seconds": 1.0, "peak_memory": 0, "images": 3, "faults": {}, "unknown_names": 0, "log": log,
        "finished": "now",
    }  # fmt: skip
    return CallRecord(**values | fields)


def test_failures_say_what_is_known_of_them():
    screen = Screen()
    screen.terminal.failures([
        failed_call(1, "one\ntwo\nthree\nValueError: [red]no[/red]\n", faults={"missing": 3}),
        failed_call(2, verdict=Verdict.TIMEOUT, exit_code=None, unknown_names=4),
    ])  # fmt: skip
    assert screen.text.splitlines() == [
        "call 1: exit, exit code 2, 3 missing",
        "    two",
        "    three",
        "    ValueError: [red]no[/red]",
        "call 2: timeout, 4 unknown names",
    ]


@pytest.mark.parametrize(("count", "first"), [(0, None), (FAILED_SHOWN, "call 0: "), (FAILED_SHOWN + 5, "25 calls")])
def test_the_latest_failures_are_shown(count, first):
    screen = Screen()
    screen.terminal.failures([failed_call(number) for number in range(count)])
    lines = screen.text.splitlines()
    assert lines[0].startswith(first) if first else lines == []
    shown = [line for line in lines if line.startswith("call ")]
    assert shown == [f"call {number}: exit, exit code 2" for number in range(count)][-FAILED_SHOWN:]


@pytest.mark.parametrize(
    ("log", "lines"),
    [("", []), ("\n \n\t\n", []), ("a\nb", ["a", "b"]), ("a\n\nb\nc\n \nd\n", ["b", "c", "d"])],
)
def test_the_last_lines_of_a_log_are_those_that_say_something(log, lines):
    assert last_lines(log) == lines
