"""`harness check` names a cause only where the pixels prove it: an attack that cuts floats is told so, one that rounds,
oversteps or clips to a wrong bound is not, and nobody's budget is called unused that was used."""

import numpy as np
import pytest
from helpers import random_pixels
from hypothesis import given
from hypothesis import strategies as st

from harness.check import budget
from harness.check.report import Check, Level, Report

EPSILON = st.sampled_from([4, 8, 12, 16])


def found(pairs, epsilon):
    """(level, check, message) of an audit of (adversarial, clean) pairs."""
    report = Report()
    histograms = {f"img{number}": budget.differences(*pair) for number, pair in enumerate(pairs)}
    budget.audit(histograms, epsilon, report)
    return [(one.level, one.check, one.message) for one in report.findings]


def floats(clean, epsilon, scale, kind, seed):
    """What an attack has as floats before it converts to bytes: the image and a step of epsilon to either side."""
    signs = np.random.default_rng(seed).choice([-1, 1], clean.shape).astype(kind)
    low, high = scale
    unit = kind(high - low) / kind(255)
    x = clean.astype(kind) * unit + kind(low)
    x_adv = np.clip(x + signs * kind(epsilon) * unit, low, high)
    return (x_adv - kind(low)) / unit


def sign_attack(clean, epsilon, low, high, seed=0):
    """Whole grey levels: `low` below or `high` above, half and half."""
    signs = np.random.default_rng(seed).choice([-low, high], clean.shape)
    return np.clip(clean.astype(int) + signs, 0, 255).astype(np.uint8)


SCALES = st.sampled_from([(0, 1), (-1, 1)])
KINDS = st.sampled_from([np.float32, np.float64])


@given(st.integers(0, 1000), EPSILON, SCALES, KINDS)
def test_an_attack_that_cuts_is_found_out_or_does_no_harm(seed, epsilon, scale, kind):
    clean = random_pixels(seed, (64, 64))
    cut = floats(clean, epsilon, scale, kind, seed).astype(np.uint8)
    histogram = budget.differences(cut, clean)
    assert budget.exceeding(histogram, epsilon) < budget.FEWEST or budget.looks_truncated(histogram, epsilon)


@given(st.integers(0, 1000), EPSILON, SCALES, KINDS)
def test_an_attack_that_rounds_is_in_order(seed, epsilon, scale, kind):
    clean = random_pixels(seed, (32, 32))
    rounded = np.rint(floats(clean, epsilon, scale, kind, seed)).astype(np.uint8)
    histogram = budget.differences(rounded, clean)
    assert budget.exceeding(histogram, epsilon) == 0
    assert budget.reach(histogram) == epsilon
    assert not budget.looks_truncated(histogram, epsilon)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_cut_exceeds_in_float32_and_is_named_with_its_number(seed):
    clean = random_pixels(seed, (64, 64))
    cut = floats(clean, 16, (-1, 1), np.float32, seed).astype(np.uint8)
    outside = int(np.count_nonzero(np.abs(cut.astype(int) - clean) > 16))
    (first, *_) = found([(cut, clean)], 16)
    assert outside > budget.FEWEST
    assert first[:2] == (Level.ERROR, Check.EXCEEDED)
    assert first[2].startswith(
        f"epsilon 16: you truncate instead of rounding: {outside} grey levels of 1 image exceed the budget"
    )


@pytest.mark.parametrize(
    ("low", "high"),
    [(17, 17), (16, 17), (17, 16), (17, 0), (18, 16), (17, 15)],
    ids=["both-sides", "above", "a-wrong-lower-bound", "darkened", "two-below", "uneven"],
)
def test_an_attack_that_oversteps_is_not_said_to_cut(low, high):
    clean = random_pixels(3, (64, 64))
    ((level, check, message), *_) = found([(sign_attack(clean, 16, low, high), clean)], 16)
    assert (level, check) == (Level.ERROR, Check.EXCEEDED)
    assert "truncate" not in message
    assert f"the worst by {max(low, high) - 16};" in message


@given(st.integers(0, 200), EPSILON)
def test_iterates_clipped_to_a_wrong_bound_are_not_said_to_cut(seed, epsilon):
    """As PGD leaves them: many values at either bound, of which the lower is one too low, the others in between."""
    generator = np.random.default_rng(seed)
    clean = random_pixels(seed, (32, 32))
    steps = np.clip(generator.normal(0, 2 * epsilon, clean.shape).round(), -epsilon - 1, epsilon).astype(int)
    moved = np.clip(clean + steps, 0, 255).astype(np.uint8)
    assert not budget.looks_truncated(budget.differences(moved, clean), epsilon)


def test_a_handful_of_values_proves_nothing():
    clean = np.full((8, 8, 3), 100, np.uint8)
    moved = clean.copy()
    moved[0, :3] -= 17
    moved[1:4] -= 16
    moved[4:] += 16
    assert budget.exceeding(budget.differences(moved, clean), 16) == 9
    assert not budget.looks_truncated(budget.differences(moved, clean), 16)
    moved[0, 3] -= 17
    assert budget.looks_truncated(budget.differences(moved, clean), 16)


def test_one_level_is_a_singular():
    clean = np.full((4, 4, 3), 100, np.uint8)
    moved = clean + np.uint8(4)
    moved[0, 0, 0] += 5
    assert found([(moved, clean)], 4)[0][2] == (
        "epsilon 4: 1 grey level of 1 image exceeds the budget, the worst by 5; the referee clips them, so clip to "
        "the ball yourself, and round"
    )


@given(st.integers(0, 100), st.integers(0, 255), st.integers(0, 255))
def test_excess_and_reach_are_those_of_the_pixels(seed, largest, epsilon):
    clean, moved = random_pixels(seed), random_pixels(seed + 1000)
    moved = np.clip(moved.astype(int), clean.astype(int) - largest, clean.astype(int) + largest).astype(np.uint8)
    delta = np.abs(moved.astype(int) - clean)
    histogram = budget.differences(moved, clean)
    assert histogram.sum() == clean.size
    assert budget.exceeding(histogram, epsilon) == np.count_nonzero(delta > epsilon)
    assert budget.reach(histogram) == delta.max()


# --- unused and unchanged


def test_images_left_alone_are_named():
    clean = random_pixels(1)
    used = sign_attack(clean, 8, 8, 8)
    assert found([(clean, clean), (used, clean), (clean, clean)], 8)[1:] == [
        (
            Level.WARNING,
            Check.UNCHANGED,
            "epsilon 8: 2 images of 3 came back unchanged (img0, img2); an unchanged image fools nobody",
        )
    ]


@pytest.mark.parametrize(("step", "unused"), [(1, True), (8, True), (9, False), (16, False)])
def test_a_budget_of_which_half_is_left_is_unused(step, unused):
    clean = random_pixels(1)
    checks = [check for _, check, _ in found([(sign_attack(clean, 16, step, step), clean)], 16)]
    assert checks == [Check.EXCEEDED, Check.UNUSED] if unused else [Check.EXCEEDED]


def test_an_image_that_only_lost_its_fractions_was_cut():
    clean = random_pixels(1, (16, 16))
    cut = (clean.astype(np.float32) / np.float32(127.5) - 1 + 1) * np.float32(127.5)
    (*_, (level, check, message)) = found([(cut.astype(np.uint8), clean)], 16)
    assert (level, check) == (Level.WARNING, Check.UNUSED)
    assert message.endswith("values only ever fall by one level, so you truncate instead of rounding")


def test_no_budget_needs_no_use():
    clean = random_pixels(1)
    assert [one[:2] for one in found([(clean, clean)], 0)] == [(Level.OK, Check.EXCEEDED)]


def test_without_an_image_there_is_nothing_to_say():
    assert [one[:2] for one in found([], 16)] == [(Level.SKIPPED, Check.EXCEEDED)]
