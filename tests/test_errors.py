"""An error is a line that can be shown: what a stranger put into a file name, into metadata or into the output of a
build moves no cursor, forges no line and fills no screen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import MAX_LINE, EngineUnavailableError, InfrastructureError, UserError, printable

TEXTS = st.text() | st.text("a\n\r\t\0\x1b\x07\x9b\u202e\u2066\u200b\u2028\ud800[2J")


@given(TEXTS)
def test_what_is_printable_is_one_line(text):
    shown = printable(text)
    assert len(shown) == len(text)
    assert shown.replace("\t", " ").isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert printable(shown) == shown


@given(st.text("abc", max_size=50), st.integers(2, 40))
def test_what_is_too_long_keeps_both_ends(text, most):
    shown = printable(text, most)
    assert len(shown) <= max(most, min(len(text), most)) + len(" ... ")
    assert shown == text if len(text) <= most else shown.startswith(text[: most // 2])


@pytest.mark.parametrize("kind", [UserError, InfrastructureError, EngineUnavailableError])
def test_errors_are_lines(kind):
    text = str(kind("a\x1b[2J\nharness: all is well" + "x" * 10 * MAX_LINE))
    assert text.isprintable()
    assert len(text) <= MAX_LINE + 5
    assert text.startswith("a\ufffd[2J\ufffdharness: all is well")


def test_every_fault_is_a_line_of_its_own():
    error = UserError(["one\ntwo", "three"])
    assert error.faults == ["one\ufffdtwo", "three"]
    assert str(error) == "one\ufffdtwo\nthree"
