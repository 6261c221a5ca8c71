"""Copies are named and good submissions that merely agree are not; each measure is what counting by hand gives."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from harness.statistics.clones import (
    SAME_DIRECTION,
    SAME_ERRORS,
    agreement,
    groups,
    kappas,
    mean_cosines,
    order_by_likeness,
    pairs_from,
    same_errors,
)

LABELS = arrays(np.int32, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.integers(-2, 3))


def products(perturbations):
    """M x A x A inner products of A x M x pixels."""
    return np.einsum("amp,bmp->mab", perturbations, perturbations).astype(np.int64)


# --- attacks


@given(arrays(np.int64, (3, 4, 5), elements=st.integers(-2, 2)))
def test_a_mean_cosine_is_that_of_vectors_one_by_one(perturbations):
    found = mean_cosines(products(perturbations))
    for one, other in itertools.product(range(3), repeat=2):
        cosines = []
        for a, b in zip(perturbations[one], perturbations[other], strict=True):
            lengths = np.linalg.norm(a) * np.linalg.norm(b)
            same = not a.any() and not b.any()
            cosines.append(1.0 if same else a @ b / lengths if lengths else 0.0)
        assert found[one, other] == pytest.approx(np.mean(cosines))


def test_a_copy_points_the_same_way_and_its_opposite_the_other():
    one = np.random.default_rng(1).integers(-16, 17, (6, 50))
    found = mean_cosines(products(np.stack([one, one * 2, -one, np.zeros_like(one)])))
    assert found[0].tolist() == pytest.approx([1, 1, -1, 0])
    assert found[3, 3] == 1


def test_without_images_there_is_no_cosine():
    assert np.isnan(mean_cosines(np.zeros((0, 2, 2), dtype=np.int64))).all()


def test_the_threshold_of_attacks_is_what_its_words_say():
    """Moving every value by the whole budget, the same way in 19 of 20 of them."""
    one = np.ones(2000, dtype=np.int64)
    other = np.where(np.arange(2000) % 20, 1, -1)
    assert mean_cosines(products(np.stack([one, other])[:, None]))[0, 1] == pytest.approx(SAME_DIRECTION)


# --- defenses


@given(LABELS)
def test_agreement_counts_equal_answers_and_no_absent_ones(labels):
    found = agreement(labels)
    for one, other in itertools.product(range(len(labels)), repeat=2):
        equal = [a == b and a >= 0 for a, b in zip(labels[one], labels[other], strict=True)]
        assert found[one, other] == pytest.approx(sum(equal) / len(equal))


@given(arrays(np.int32, st.tuples(st.integers(2, 4), st.integers(1, 15)), elements=st.integers(0, 3)))
def test_kappa_is_that_of_scikit_learn(labels):
    found = kappas(labels, agreement(labels))
    for one, other in itertools.combinations(range(len(labels)), 2):
        if len({*labels[one], *labels[other]}) == 1:
            assert np.isnan(found[one, other])  # chance alone agrees always
        else:
            expected = cohen_kappa_score(labels[one], labels[other], labels=list(range(4)))
            assert found[one, other] == pytest.approx(expected)


def test_an_absent_answer_is_no_label_to_agree_on():
    """Both are silent on the third of four: a half of the answers agree, and chance gives 6 of 16."""
    labels = np.array([[1, 1, -1, 2], [1, 2, -1, 2]], dtype=np.int32)
    chance = (2 * 1 + 1 * 2) / 16
    assert kappas(labels, agreement(labels))[0, 1] == pytest.approx((0.5 - chance) / (1 - chance))


@given(LABELS, st.integers(0, 100))
def test_shared_errors_are_counted_among_answers_that_are_wrong_in_one_or_both(labels, seed):
    true = np.random.default_rng(seed).integers(0, 4, labels.shape[1])
    found = same_errors(labels == true, agreement(labels))
    for one, other in itertools.product(range(len(labels)), repeat=2):
        wrong = [(a, b) for a, b, t in zip(labels[one], labels[other], true, strict=True) if a != t or b != t]
        if wrong:
            same = sum(a == b and a >= 0 for a, b in wrong)
            assert found[one, other] == pytest.approx(same / len(wrong))
        else:
            assert np.isnan(found[one, other])


def test_two_good_defenses_that_err_apart_are_no_clones_although_they_agree_nearly_always():
    """95 % each, independent: kappa takes them for one; what they have in common when wrong does not."""
    generator = np.random.default_rng(3)
    true = generator.integers(0, 1000, 20_000)
    labels = np.where(generator.random((2, 20_000)) < 0.95, true, generator.integers(0, 1000, (2, 20_000)))
    agreed = agreement(labels)
    assert kappas(labels, agreed)[0, 1] > SAME_ERRORS
    assert same_errors(labels == true, agreed)[0, 1] < 0.02


# --- pairs, groups, order


def test_pairs_reach_the_threshold_and_the_most_alike_come_first():
    likeness = np.array([[1, 0.9, np.nan], [0.9, 1, 0.95], [np.nan, 0.95, 1]])
    assert pairs_from(likeness, 0.9) == [(1, 2), (0, 1)]
    assert pairs_from(likeness, 0.96) == []


@given(st.integers(1, 8), st.data())
def test_groups_are_what_pairs_connect(count, data):
    places = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(places, places).filter(lambda pair: pair[0] != pair[1]), max_size=8))
    found = groups(count, pairs)
    reach = np.eye(count, dtype=bool)
    for one, other in pairs:
        reach[one, other] = reach[other, one] = True
    for _ in range(count):
        reach = reach @ reach
    assert found == [int(np.flatnonzero(row)[0]) for row in reach]


def test_those_that_are_alike_stand_together():
    likeness = np.eye(5)
    for one, other in ((0, 3), (1, 4)):
        likeness[one, other] = likeness[other, one] = 0.9
    order = order_by_likeness(likeness)
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert abs(order.index(0) - order.index(3)) == 1
    assert abs(order.index(1) - order.index(4)) == 1


@given(arrays(np.float64, st.integers(0, 6).map(lambda n: (n, n)), elements=st.floats(-1, 1) | st.just(np.nan)))
def test_any_table_has_an_order(likeness):
    assert sorted(order_by_likeness(likeness)) == list(range(len(likeness)))
