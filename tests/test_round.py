"""A round on disk is all that scoring needs: what is read back is what was written, and a file that is broken or of
another version says so instead of scoring something else."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dataset import LabelSpace
from harness.errors import UserError
from harness.records import Role
from harness.round import (
    FILE_NAME,
    Round,
    RoundAttack,
    RoundDefense,
    RoundImage,
    Unavailable,
    read_round,
    write_round,
)

IMAGES = tuple(RoundImage(f"img{n}", f"source{n}", f"clean{n}", n, 100 + n) for n in range(5))

ROUND = Round(
    tournament="t",
    dataset="d",
    labels=LabelSpace(space="cifar10", first=0, count=10, background=None),
    image_size=(8, 6),
    seed=3,
    rules="fair",
    batch_size=2,
    epsilons=("4", "8"),
    budgets=((4, 4, 4), (8, 8, 8)),
    images=IMAGES,
    attacks=(
        RoundAttack("a", False, "sa", "pa", (("k0", "k1", "k2"), ("k3", "k4", "k5"))),
        RoundAttack("t", True, "st", "pt", (("k6", "k7", "k8"), ("k9", "k10", "k11"))),
    ),
    defenses=(RoundDefense("x", "sx", "px"),),
    store="store",
    unavailable=(Unavailable("y", Role.DEFENSE, "its weights w are gone", "harness weights fetch w"),),
)


def test_what_is_written_is_read_back(tmp_path):
    write_round(ROUND, tmp_path)
    assert read_round(tmp_path) == ROUND


def test_the_same_round_is_the_same_file(tmp_path):
    write_round(ROUND, tmp_path / "a")
    write_round(read_round(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "a" / FILE_NAME).read_bytes() == (tmp_path / "b" / FILE_NAME).read_bytes()


@given(st.integers(1, 12), st.integers(0, 12))
def test_batches_cut_the_images_in_order(size, count):
    images = tuple(RoundImage(str(number), "", "", 0, 0) for number in range(count))
    batches = replace(ROUND, images=images, batch_size=size).batches
    assert [image for batch in batches for image in batch] == list(images)
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(0 < len(batch) <= size for batch in batches)


def test_what_a_round_needs():
    assert ROUND.unit_keys() == [f"k{number}" for number in range(12)]
    assert ROUND.players() == ["pa", "pt", "px"]
    assert ROUND.submissions() == {"sa", "st", "sx"}


def test_the_digest_of_a_dataset_is_of_pictures_and_labels_alone():
    before = ROUND.dataset_digest
    assert (
        replace(ROUND, dataset="renamed", images=tuple(replace(i, source="other") for i in IMAGES)).dataset_digest
        == before
    )
    for change in ({"id": "x"}, {"clean": "x"}, {"true_label": 9}, {"target_class": 9}):
        assert replace(ROUND, images=(replace(IMAGES[0], **change), *IMAGES[1:])).dataset_digest != before
    assert replace(ROUND, images=IMAGES[::-1]).dataset_digest != before


def without(key):
    data = json.loads(written())
    del data[key]
    return json.dumps(data)


def written():
    labels = {"labels": ROUND.labels.model_dump()}
    return json.dumps({"schema_version": 1} | vars(ROUND) | labels, default=vars)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        (written()[:200], "cannot be read"),
        (b"\xff\xff", "cannot be read"),
        ("[]", "cannot be read"),
        ("null", "cannot be read"),
        ('{"schema_version": 1}', "cannot be read"),
        ('{"schema_version": 1, "more": 2}', "cannot be read"),
        (without("labels"), "cannot be read"),
        (without("seed"), "cannot be read"),
        ("{}", "was written by another version of the harness"),
        (written().replace('"schema_version": 1', '"schema_version": 2'), "was written by another version"),
    ],
)
def test_a_file_that_is_none_of_ours(tmp_path, text, fault):
    (tmp_path / FILE_NAME).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        read_round(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / FILE_NAME}: {fault}")
    assert str(caught.value).endswith("; run the tournament again")


def test_an_intact_file_is_read(tmp_path):
    (tmp_path / FILE_NAME).write_text(written())
    assert read_round(tmp_path) == ROUND


def test_a_file_of_a_time_when_nobody_was_unavailable_is_read(tmp_path):
    (tmp_path / FILE_NAME).write_text(without("unavailable"))
    assert read_round(tmp_path) == replace(ROUND, unavailable=())


def test_who_is_unavailable_is_no_player():
    assert ROUND.players() == replace(ROUND, unavailable=()).players()


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match=r"no run was begun there \(round\.json is missing\); harness run makes it"):
        read_round(tmp_path / "absent")
