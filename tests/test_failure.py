"""Whose fault it was decides who loses points: a program that exits with 137 was not killed by the kernel, and one that
we ended did not crash. Logs are a stranger's words and reach a terminal only without control characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Verdict
from harness.sandbox.failure import LOG_BYTES, Kill, classify, clean_log, start_was_refused

TIMEOUT = Kill(Verdict.TIMEOUT, "ended by the harness: it ran longer than 5 s")


@pytest.mark.parametrize(
    ("exit_code", "out_of_memory", "kill", "verdict"),
    [
        (0, False, None, Verdict.OK),
        (1, False, None, Verdict.EXIT),
        (127, False, None, Verdict.EXIT),
        (137, False, None, Verdict.EXIT),
        (-9, False, None, Verdict.EXIT),
        (137, True, None, Verdict.OUT_OF_MEMORY),
        (1, True, None, Verdict.OUT_OF_MEMORY),
        (0, True, None, Verdict.OK),
        (137, False, TIMEOUT, Verdict.TIMEOUT),
        (0, False, TIMEOUT, Verdict.TIMEOUT),
        (137, True, TIMEOUT, Verdict.TIMEOUT),
        (0, False, Kill(Verdict.BAD_OUTPUT, "too much"), Verdict.BAD_OUTPUT),
    ],
    ids=[
        "fine", "crashed", "not-found", "says-137", "killed-itself", "memory", "child-out-of-memory",
        "recovered-from-memory", "timeout", "timeout-but-ended", "timeout-and-memory", "quota",
    ],
)  # fmt: skip
def test_verdicts(exit_code, out_of_memory, kill, verdict):
    assert classify(exit_code, out_of_memory=out_of_memory, kill=kill) is verdict


@pytest.mark.parametrize(
    ("exit_code", "refused"),
    [(126, True), (127, True), (0, False), (1, False), (125, False), (128, False), (None, False)],
)
def test_a_start_that_was_refused_is_the_submissions_doing(exit_code, refused):
    assert start_was_refused(exit_code) is refused


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (b"", ""),
        (b"one\ntwo\tthree\n", "one\ntwo\tthree\n"),
        ("caf\u00e9 \u732b\n".encode(), "caf\u00e9 \u732b\n"),
        (b"\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        (b"\x1b]0;title\x07", "\ufffd]0;title\ufffd"),
        (b"50%\r100%\r\n", "50%\n100%\n\n"),
        (b"\xff\x00\x08", "\ufffd\ufffd\ufffd"),
        ("\u202egnp.exe".encode(), "\ufffdgnp.exe"),
        ("\u2028".encode(), "\ufffd"),
    ],
    ids=["empty", "plain", "unicode", "colours", "title", "progress-bar", "bytes", "backwards", "separator"],
)
def test_logs_are_made_safe(log, text):
    assert clean_log(log) == text


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 10), st.none() | st.just(TIMEOUT))
def test_no_log_holds_a_control_character(head, tail, left_out, kill):
    text = clean_log(head, tail, left_out, kill)
    assert all(char in "\n\t" or char.isprintable() for char in text)
    assert text.encode().decode() == text


def test_what_was_left_out_is_counted_and_our_reason_stands_last():
    assert clean_log(b"begin", b"end", 7) == "begin\n... 7 bytes left out ...\nend"
    assert clean_log(b"begin\n\n", kill=TIMEOUT) == f"begin\n[{TIMEOUT.reason}]\n"
    assert clean_log(b"", kill=TIMEOUT) == f"[{TIMEOUT.reason}]\n"


def test_a_log_has_room_for_a_traceback():
    assert LOG_BYTES >= 16 << 10
