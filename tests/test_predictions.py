"""A defense's CSV is a stranger's bytes: whatever is in it costs at most the answers for the images that it is about,
and what the 2017 toolkit understood is understood."""

import tracemalloc

import pytest
from helpers import LABELS
from hypothesis import given
from hypothesis import strategies as st

from harness.dataset import LabelSpace
from harness.predictions import ROW_BYTES, max_csv_bytes, parse_answers
from harness.records import Fault, Prediction

IMAGES = {"a.png": "digest of a", "b.png": "digest of b"}


def parse(data, labels=LABELS):
    data = data.encode() if isinstance(data, str) else data
    return parse_answers(data, IMAGES, labels)


def answer_for_a(data):
    """(label, fault) of the first image."""
    first = parse(data).predictions[0]
    return first.label, first.fault


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ("a.png,7", 7),
        ("a.png,7,0.97", 7),
        ("a.png,7,8,cat,,", 7),
        ("a.png,7,", 7),
        ("a.png, 7 ,x", 7),
        ('"a.png","7","tench, fish"', 7),
        ("a,7", 7),
        (" a.png , 7 ", 7),
        ('"a.png","7"', 7),
        ("a.png,007", 7),
        ("a.png,+7", 7),
        ("a.png,0", 0),
        ("a.png,1000", 1000),
        ("a.png,7\r", 7),
        ("\ufeffa.png,7", 7),
        ("\n\na.png,7\n\n", 7),
        ("image,label\na.png,7", 7),
        ("a.png,7\nc.png,9\nnonsense", 7),
        ("# made by x\na.png,7", 7),
    ],
    ids=[
        "plain", "confidence", "many-columns", "empty-column", "spaces-and-more", "quoted-columns", "no-suffix",
        "spaces", "quoted", "zeros", "plus", "background", "last", "crlf", "mark", "empty-lines",
        "header", "unknown-rows", "comment",
    ],
)  # fmt: skip
def test_a_row_that_counts(row, label):
    assert answer_for_a(row) == (label, None)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("", Fault.MISSING),
        ("b.png,7", Fault.MISSING),
        ("A.PNG,7", Fault.MISSING),
        ("a.jpg,7", Fault.MISSING),
        ("x/a.png,7", Fault.MISSING),
        ("a.png;7", Fault.MISSING),
        ("a.png", Fault.NOT_AN_INTEGER),
        ("a.png,", Fault.NOT_AN_INTEGER),
        ("a.png,7.0", Fault.NOT_AN_INTEGER),
        ("a.png,7e0", Fault.NOT_AN_INTEGER),
        ("a.png,0x7", Fault.NOT_AN_INTEGER),
        ("a.png,1_0", Fault.NOT_AN_INTEGER),
        ("a.png,cat", Fault.NOT_AN_INTEGER),
        ("a.png,nan", Fault.NOT_AN_INTEGER),
        ("a.png,\u0667", Fault.NOT_AN_INTEGER),
        ("a.png,7 8", Fault.NOT_AN_INTEGER),
        ("a.png,\0" + "7", Fault.NOT_AN_INTEGER),
        ("a.png," + "9" * 100_000, Fault.NOT_AN_INTEGER),
        ("a.png,-1", Fault.OUTSIDE_LABELS),
        ("a.png,1001", Fault.OUTSIDE_LABELS),
        ("a.png,999999999", Fault.OUTSIDE_LABELS),
        ("a.png,,", Fault.NOT_AN_INTEGER),
        ("a.png,,7", Fault.NOT_AN_INTEGER),
        ("a.png,cat,7", Fault.NOT_AN_INTEGER),
        ("a.png,1001,7", Fault.OUTSIDE_LABELS),
        ("a.png,7,0.9\na.png,7,0.8", Fault.DUPLICATE),
        ("a.png,7\na.png,7", Fault.DUPLICATE),
        ("a.png,7\na,8", Fault.DUPLICATE),
        ("a.png,7\na.png,8\na.png,9", Fault.DUPLICATE),
        ("a.png,cat\na.png,7", Fault.DUPLICATE),
    ],
)
def test_a_row_that_does_not(row, fault):
    assert answer_for_a(row) == (None, fault)


def test_one_bad_row_costs_one_image():
    found = parse(b"\xff\xfe,\xff\na.png,\xff\nb.png,5\n")
    assert found.predictions == (
        Prediction("digest of a", None, Fault.NOT_AN_INTEGER),
        Prediction("digest of b", 5),
    )
    assert found.unknown_rows == 1


def test_the_background_counts_only_where_the_label_space_has_one():
    labels = LabelSpace(space="cifar10", first=0, count=10, background=None)
    assert [item.label for item in parse("a,0\nb,9", labels).predictions] == [0, 9]
    assert parse("a,10", labels).predictions[0].fault is Fault.OUTSIDE_LABELS


@pytest.mark.parametrize("row", [b"xy\n", b"\xff,\n", b"\n", "\U0001f600".encode()])
def test_rows_are_looked_at_one_by_one(row):
    """A call about many images may write tens of megabytes; as a list of short texts they were gigabytes."""
    data = row * (500_000 // len(row))
    tracemalloc.start()
    try:
        found = parse(data)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data)
    finally:
        tracemalloc.stop()
    assert [answer.fault for answer in found.predictions] == [Fault.MISSING] * len(IMAGES)


@pytest.mark.parametrize("column", ["name", "label"])
def test_a_column_is_never_cut_to_another(column):
    """What is too long to be looked at counts for nothing, not for its beginning."""
    blanks = " " * ROW_BYTES
    row = f"{blanks}a.png,7" if column == "name" else f"a.png,{blanks}7"
    assert answer_for_a(row)[0] is None
    assert answer_for_a(row.replace(blanks, blanks[:400])) == (7, None)


def test_rows_in_another_encoding_are_none():
    rows = "a.png,7\nb.png,5\n"
    assert parse(rows.encode("utf-16")).predictions == parse(b"").predictions
    assert parse(rows.encode("utf-32")).predictions == parse(b"").predictions
    assert [answer.label for answer in parse(rows.encode("utf-8-sig")).predictions] == [7, 5]
    assert [answer.label for answer in parse("# \u00fc\n".encode("latin-1") + rows.encode()).predictions] == [7, 5]


def test_unknown_rows_are_counted():
    assert parse("image,label\na.png,7\nc.png,1\nc.png,1\n\nrubbish").unknown_rows == 4


@given(
    st.binary(max_size=500)
    | st.lists(st.sampled_from([b"a", b".png", b",", b"\n", b'"', b"7", b"-", b"\r", b" ", b"\xff"])).map(b"".join)
)
def test_whatever_comes_gives_one_answer_for_each_image(data):
    found = parse(data)
    assert [item.digest for item in found.predictions] == list(IMAGES.values())
    for item in found.predictions:
        assert (item.label is None) is (item.fault is not None)
        assert item.label is None or LABELS.accepts(item.label)
    assert 0 <= found.unknown_rows <= data.count(b"\n") + 1


@given(
    st.dictionaries(st.text("abcxyz012_- ", min_size=1).map(str.strip).filter(bool), st.integers(0, 1000), min_size=1),
    st.randoms(),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from(["", ",0.97", ",1,2,3"]),
)
def test_good_answers_come_back_whatever_their_order_and_form(answers, random, newline, suffix, more):
    images = {f"{name}.png": f"digest of {name}" for name in answers}
    rows = [f"{name}{'.png' if suffix else ''},{label}{more}{newline}" for name, label in answers.items()]
    random.shuffle(rows)
    data = "".join(rows).encode()
    assert len(data) <= max_csv_bytes(len(images))
    found = parse_answers(data, images, LABELS)
    assert {item.digest: item.label for item in found.predictions} == {
        f"digest of {name}": label for name, label in answers.items()
    }
    assert found.unknown_rows == 0
