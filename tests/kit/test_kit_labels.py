"""Labels of ImageNet are 1..1000 outside and classes 0..999 inside a network; being off by one costs every answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advkit.errors import KitError
from advkit.labels import DIGITS, IMAGENET, read_labels, write_labels

NAMES = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20).map(lambda stem: f"{stem}.png")


def test_the_first_class_is_label_1():
    assert [IMAGENET.label_of(index) for index in (0, 999)] == [1, 1000]
    assert [IMAGENET.class_of(label) for label in (1, 1000)] == [0, 999]


def test_digits_are_their_own_labels():
    assert [DIGITS.label_of(index) for index in range(10)] == list(range(10))
    assert [label in DIGITS for label in (-1, 0, 9, 10)] == [False, True, True, False]


@given(labels=st.dictionaries(NAMES, st.integers(1, 1000)))
def test_a_written_file_reads_back(tmp_path_factory, labels):
    path = tmp_path_factory.getbasetemp() / "labels.csv"
    write_labels(path, labels)
    assert read_labels(path) == labels


def test_the_file_has_a_line_an_image_and_no_header(tmp_path):
    write_labels(tmp_path / "result.csv", {"b.png": 7, "a.png": 1000})
    assert (tmp_path / "result.csv").read_text() == "a.png,1000\nb.png,7\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png,cat", "expected IMAGE.png,LABEL, found 'a.png,cat'"),
        ("a.png", "expected IMAGE.png,LABEL, found 'a.png'"),
        ("ImageId,TargetClass", "expected IMAGE.png,LABEL"),
        ("a.png,0", r"label 0 of a.png is outside 1\.\.1000"),
        ("a.png,1001", r"label 1001 of a.png is outside 1\.\.1000"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, line, message):
    path = tmp_path / "target_class.csv"
    path.write_text(f"ok.png,1\n{line}\n")
    with pytest.raises(KitError, match=f"target_class.csv:2: {message}"):
        read_labels(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KitError, match=r"target_class.csv: cannot be read: No such file"):
        read_labels(tmp_path / "target_class.csv")
