"""The products behind the cosines are exact, of the right pixels, and do not stumble over what an attack left out."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from helpers import make_audits, make_round, open_field, random_pixels, score_table, write_dataset, write_players
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.assembly import read_audits
from harness.errors import UserError
from harness.publish import similarity
from harness.publish.similarity import MOST_IMAGES, evenly, measure_similarity


@pytest.fixture
def played(tmp_path):
    """A round of four pictures: one attack changes nothing, two shift all values, one writes nothing."""
    write_dataset(tmp_path / "dataset")
    write_players(tmp_path / "players", attacks=("noop", "shift 3", "nothing"), targeted=("shift -2",))
    with open_field(tmp_path, epsilon=[2, 4]) as field:
        field.play()
        yield field.prepared.round, read_audits(field.prepared.round, field.store.index), field.store


def test_products_are_those_of_the_perturbations_at_the_largest_budget(played):
    round_, audits, store = played
    found = measure_similarity(round_, audits, store)
    assert found.attacks == ("a0", "a1", "a2", "t0")
    assert found.epsilon == "4"
    assert found.images == tuple(f"img{number}" for number in range(4))
    for number in range(4):
        clean = random_pixels([0, number]).astype(int).ravel()
        changes = np.stack([(clean + shift).clip(0, 255) - clean for shift in (0, 3, 0, -2)])
        assert np.array_equal(found.products[number], changes @ changes.T)


def test_parts_of_an_image_add_up_to_the_whole(played, monkeypatch):
    whole = measure_similarity(*played)
    monkeypatch.setattr(similarity, "CHUNK", 7)
    assert np.array_equal(measure_similarity(*played).products, whole.products)


def test_the_watch_is_told_of_every_image(played):
    told = []
    measure_similarity(*played, lambda done, total: told.append((done, total)))
    assert told == [(done, 4) for done in range(5)]


def test_an_image_that_is_not_known_yet_is_unchanged(played):
    round_, audits, store = played
    audits.digests[1, 1, 2] = ""
    products = measure_similarity(round_, audits, store).products
    assert products[2, 1].tolist() == [0, 0, 0, 0]
    assert products[1, 1, 1] > 0


def test_pixels_that_the_store_lost_are_an_error_that_says_what_to_do(played):
    round_, audits, store = played
    store.objects.remove([audits.digests[1, 1, 0]])
    with pytest.raises(UserError, match="run the tournament again"):
        measure_similarity(round_, audits, store)


def test_a_round_without_attacks_has_nothing_to_compare():
    table = score_table(np.zeros((0, 1, 2, 3)))
    found = measure_similarity(make_round(table), make_audits(table), None)
    assert found.products.shape == (0, 0, 0)


def test_of_budgets_that_are_dealt_out_the_largest_on_average_is_taken():
    table = score_table(np.zeros((0, 2, 1, 4)))
    round_ = replace(make_round(table, batch_size=2), budgets=((8, 8), (4, 16)))
    assert measure_similarity(round_, make_audits(table), None).epsilon == table.epsilons[1]


@given(arrays(np.int16, (3, 50), elements=st.sampled_from([-255, -254, -1, 0, 1, 255])))
def test_products_are_exact_whatever_the_values(changes):
    expected = [[sum(int(a) * int(b) for a, b in zip(one, other, strict=True)) for other in changes] for one in changes]
    assert similarity._products(changes).tolist() == expected


def test_the_largest_image_that_there_is_room_for_is_exact():
    """299 x 299 x 3 values of 255 and one of 254: float32 would lose the difference."""
    changes = np.full((2, 299 * 299 * 3), 255, dtype=np.int16)
    changes[1, 0] = 254
    assert similarity._products(changes)[0, 1] == 255 * 255 * (299 * 299 * 3 - 1) + 255 * 254


@given(st.integers(1, 5000))
def test_images_are_chosen_at_equal_distances(images):
    chosen = evenly(images)
    assert len(chosen) == min(images, MOST_IMAGES)
    assert chosen[0] == 0
    assert chosen[-1] < images
    steps = {after - before for before, after in itertools.pairwise(chosen)}
    assert not steps or (min(steps) >= 1 and max(steps) - min(steps) <= 1)
