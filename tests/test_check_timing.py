"""The time of a full batch is told from two small calls: a line through both, never one that shrinks with more images,
and what a participant reads says whether a tournament would end the call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.check import timing
from harness.check.report import Check, Level, Report
from harness.records import Limits, Outcome, Prediction, Verdict

MIB = 1 << 20
COST = st.floats(0, 1e4)


def outcome(images, seconds, peak=0, verdict=Verdict.OK):
    answers = tuple(Prediction(str(number), 1) for number in range(images))
    return Outcome("key", verdict, 0, seconds, peak, "", predictions=answers)


def judged(*outcomes, batch=100, **limits):
    report = Report()
    timing.judge(outcomes, batch, Limits(**limits), 2, report)
    return {finding.check: finding for finding in report.findings}


@given(COST, st.floats(0, 100), st.integers(1, 50), st.integers(1, 50))
def test_a_cost_that_is_a_line_is_found_again(fixed, each, few, more):
    line = timing.through((few, fixed + each * few), (few + more, fixed + each * (few + more)))
    assert line.at(1000) == pytest.approx(fixed + each * 1000, rel=1e-3, abs=1e-3 * max(1, fixed))


@given(COST, COST, st.integers(1, 50), st.integers(1, 50), st.integers(0, 100))
def test_more_images_never_cost_less_than_what_was_seen(low, high, few, more, beyond):
    line = timing.through((few, low), (few + more, high))
    assert line.fixed >= 0
    assert line.each >= 0
    assert line.at(few + more + beyond) >= high * (1 - 1e-9)


def test_the_words_for_time():
    finding = judged(outcome(2, 2.88), outcome(8, 5.22))[Check.SECONDS]
    assert (finding.level, finding.message) == (
        Level.OK,
        "a batch of 100 would take about 41 s of 500 s: 12 times headroom (2.1 s to start, 0.39 s for each image, "
        "on 2 cores)",
    )
    assert finding.values["fixed"] == pytest.approx(2.1)
    assert finding.values["each"] == pytest.approx(0.39)


@pytest.mark.parametrize(
    ("seconds", "level"), [(100.0, Level.OK), (50.0, Level.OK), (49.0, Level.WARNING), (25.0, Level.WARNING),
                           (24.0, Level.ERROR)]
)  # fmt: skip
def test_headroom_decides_the_level(seconds, level):
    """A batch of 100 takes 25 s."""
    assert judged(outcome(2, 0.5), outcome(8, 2.0), seconds=seconds)[Check.SECONDS].level is level


@pytest.mark.parametrize(
    ("few", "many", "level"), [(2, 8, Level.SKIPPED), (5, 24, Level.SKIPPED), (5, 25, Level.WARNING)]
)
def test_memory_that_would_grow_beyond_its_limit(few, many, level):
    """It need not go on growing, for many take a few images at a time: only a large part of a batch is a warning."""
    calls = outcome(few, 1.0, 50 * few * MIB), outcome(many, 1.0, 50 * many * MIB)
    found = judged(*calls, memory=4096 * MIB)[Check.MEMORY]
    assert (found.level, found.values["bytes"]) == (level, 5000 * MIB)
    assert judged(*calls, memory=8192 * MIB)[Check.MEMORY].level is Level.OK


@pytest.mark.parametrize(("limit", "level"), [(500.0, Level.OK), (50.0, Level.OK), (49.0, Level.SKIPPED)])
def test_where_more_images_took_no_longer_the_most_that_it_may_be_is_said(limit, level):
    """Two seconds for eight images are at most 25 for a hundred, and no error: it is not known."""
    finding = judged(outcome(2, 2.0), outcome(8, 2.0), seconds=limit)[Check.SECONDS]
    assert (finding.level, finding.values["seconds"], finding.values["each"]) == (level, 25.0, 0)
    assert "would take at most about 25 s" in finding.message


def test_memory_that_nobody_could_look_at_is_not_in_order():
    assert judged(outcome(2, 0.1), outcome(8, 0.1))[Check.MEMORY].level is Level.SKIPPED
    assert judged(outcome(2, 0.1), outcome(8, 0.1, 64 * MIB))[Check.MEMORY].values["bytes"] == 64 * MIB


def test_the_quickest_call_of_each_size_counts():
    """Whatever else a machine does makes a call slower, never faster; sizes in between are left out."""
    calls = [outcome(8, 9.0), outcome(2, 7.0), outcome(8, 5.22), outcome(2, 2.88), outcome(4, 0.1)]
    assert judged(*calls)[Check.SECONDS].values["seconds"] == pytest.approx(41.1)


@pytest.mark.parametrize(
    "calls",
    [[], [outcome(8, 1.0)], [outcome(8, 1.0)] * 2, [outcome(8, 1.0), outcome(2, 1.0, verdict=Verdict.EXIT)]],
    ids=["none", "one", "one-size", "one-failed"],
)
def test_one_size_says_nothing(calls):
    assert {check: finding.level for check, finding in judged(*calls).items()} == {Check.SECONDS: Level.SKIPPED}
