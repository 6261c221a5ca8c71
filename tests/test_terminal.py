"""A person sees what failed and why, and nothing that a submission wrote can colour, clear or forge the screen."""

import io
import re

import pytest
from helpers import make_audits, make_player, make_round, score_table
from rich.console import Console

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


@pytest.mark.parametrize("width", [60, 80, 200])
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
