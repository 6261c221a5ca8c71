"""The rule sets of 2017 are what people compare with: they are held against plain loops that follow the published
scripts of the competition, on any table of answers."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import score_table, tables
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.scoring import NO_ANSWER, POLICIES, UNKNOWN, Bits, add_up, count_points, ranks
from harness.statistics.wins import attack_wins, defense_wins

# --- plain loops


def places(table):
    """(attack, epsilon, image) of every adversarial image."""
    return list(np.ndindex(*table.valid.shape))


def outputs_of_2017(table):
    """The files that the 2017 toolkit looked at: adversarial images that exist, and labels for those."""
    existing = [place for place in places(table) if table.valid[place]]
    labelled = {
        (attack, epsilon, defense, image): int(table.labels[attack, epsilon, defense, image])
        for attack, epsilon, image in existing
        for defense in range(len(table.defenses))
        if table.labels[attack, epsilon, defense, image] >= 0
    }
    return existing, labelled


def scores_of_toolkit(table):
    """`compute_and_save_scores_and_ranking` of the development toolkit, summed over budgets."""
    _, labelled = outputs_of_2017(table)
    images = len(table.images) * len(table.epsilons)
    accuracy = np.zeros((len(table.attacks), len(table.defenses)), dtype=int)
    hits = np.zeros_like(accuracy)
    for (attack, _, defense, image), label in labelled.items():
        accuracy[attack, defense] += label == table.true_labels[image]
        hits[attack, defense] += label == table.target_classes[image]
    return {
        "defenses": [int(accuracy[:, defense].sum()) for defense in range(len(table.defenses))],
        "attacks": [images * len(table.defenses) - int(accuracy[attack].sum()) for attack in range(table.untargeted)],
        "targeted": [int(hits[attack].sum()) for attack in range(table.untargeted, len(table.attacks))],
    }


def scores_of_evaluation(table):
    """The final evaluation: only complete attacks score defenses, only complete defenses score attacks."""
    existing, labelled = outputs_of_2017(table)
    complete_attacks = [
        attack
        for attack in range(len(table.attacks))
        if all(place in existing for place in places(table) if place[0] == attack)
    ]
    complete_defenses = [
        defense
        for defense in range(len(table.defenses))
        if all((attack, epsilon, defense, image) in labelled for attack, epsilon, image in existing)
    ]
    defenses, attacks = [0] * len(table.defenses), [0] * len(table.attacks)
    for (attack, _, defense, image), label in labelled.items():
        if attack in complete_attacks and label == table.true_labels[image]:
            defenses[defense] += 1
        if defense in complete_defenses:
            targeted = attack >= table.untargeted
            won = label == table.target_classes[image] if targeted else label != table.true_labels[image]
            attacks[attack] += int(won)
    return {
        "defenses": defenses,
        "attacks": attacks[: table.untargeted],
        "targeted": attacks[table.untargeted :],
        "for_defenses": [attack in complete_attacks for attack in range(len(table.attacks))],
        "for_attacks": [defense in complete_defenses for defense in range(len(table.defenses))],
    }


def scores_of_fair(table):
    """Every defense answers for every attack on every image; the clean image stands in for what is not there."""
    defenses, attacks = [0] * len(table.defenses), [0] * len(table.attacks)
    for attack, epsilon, defense, image in np.ndindex(*table.labels.shape):
        label = table.labels[attack, epsilon, defense, image]
        if label == table.true_labels[image]:
            defenses[defense] += 1
        if attack < table.untargeted:
            attacks[attack] += int(label >= 0 and label != table.true_labels[image])
        else:
            attacks[attack] += int(label == table.target_classes[image])
    return {"defenses": defenses, "attacks": attacks[: table.untargeted], "targeted": attacks[table.untargeted :]}


def scores(table, rules):
    points = count_points(table, rules)
    return {
        "defenses": defense_wins(table, points).by_image.sum(axis=1).tolist(),
        "attacks": attack_wins(table, points, targeted=False).by_image.sum(axis=1).tolist(),
        "targeted": attack_wins(table, points, targeted=True).by_image.sum(axis=1).tolist(),
    }


@given(tables())
def test_the_toolkits_rules(table):
    assert scores(table, "nips17-dev") == scores_of_toolkit(table)


@given(tables())
def test_the_evaluations_rules(table):
    expected = scores_of_evaluation(table)
    points = count_points(table, "nips17-final")
    assert points.for_defenses.tolist() == expected.pop("for_defenses")
    assert points.for_attacks.tolist() == expected.pop("for_attacks")
    assert scores(table, "nips17-final") == expected


@given(tables())
def test_the_fair_rules(table):
    assert scores(table, "fair") == scores_of_fair(table)


COMPLETE = {"labels": st.integers(0, 3), "valid": st.just(True)}


@given(tables(**COMPLETE))
def test_on_complete_answers_the_rule_sets_agree(table):
    assert scores(table, "fair") == scores(table, "nips17-dev") == scores(table, "nips17-final")


@given(tables(**COMPLETE))
def test_on_complete_answers_an_untargeted_attack_wins_what_the_defenses_lose(table):
    found = scores(table, "fair")
    possible = table.untargeted * len(table.defenses) * len(table.epsilons) * len(table.images)
    lost = possible - int(count_points(table, "fair").correct[: table.untargeted].sum())
    assert sum(found["attacks"]) == lost


@given(tables(min_attacks=1), st.data())
def test_under_the_fair_rules_leaving_out_an_answer_never_pays(table, data):
    """Neither for the defense that leaves it out, nor for the attacks, which earn nothing by it."""
    if not table.labels.size:
        return
    place = tuple(data.draw(st.integers(0, length - 1)) for length in table.labels.shape)
    before = scores(table, "fair")
    table.labels[place] = NO_ANSWER
    after = scores(table, "fair")
    for kind in before:
        assert all(new <= old for old, new in zip(before[kind], after[kind], strict=True))


@given(tables(labels=st.sampled_from([UNKNOWN, NO_ANSWER, 1])), st.sampled_from(sorted(POLICIES)))
def test_holes_are_counted_and_are_points_for_nobody(table, rules):
    """Nobody earns anything by our own failures, whatever the rules say of a submission's."""
    assert table.holes == (table.labels == UNKNOWN).sum() + (table.clean == UNKNOWN).sum()
    points = count_points(table, rules)
    assert not (points.correct[...] | points.fooled[...] | points.hit[...])[table.labels == UNKNOWN].any()
    assert np.array_equal(points.known[...], table.labels != UNKNOWN)
    assert points.silent.tolist() == table.count(NO_ANSWER).tolist()


@given(arrays(np.bool_, st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 20))))
def test_flags_that_are_kept_as_bits_are_the_same_flags(flags):
    bits = Bits(np.packbits(flags, axis=-1), flags.shape[-1])
    assert bits.shape == flags.shape
    assert np.array_equal(bits[...], flags)
    assert np.array_equal(bits[:, -1], flags[:, -1])
    assert np.array_equal(bits.counts(), flags.sum(axis=-1))


@pytest.mark.parametrize("count", [0, 1, 255, 256, 600])
def test_any_number_of_flags_is_added_up(count):
    flags = np.random.default_rng(count).random((count, 2, 3)) < 0.9
    flags[:, 0, 0] = True
    assert np.array_equal(add_up(flags), flags.sum(axis=0))


# --- identities


@given(tables(), st.sampled_from(["fair", "nips17-dev"]))
def test_every_answer_is_a_point_for_one_side_or_for_nobody(table, rules):
    """What untargeted attacks win, what defenses win on them, and under the fair rules what was not answered."""
    points, untargeted = count_points(table, rules), slice(0, table.untargeted)
    won = int(points.fooled[untargeted].sum()) + int(points.correct[untargeted].sum())
    silent = int((table.labels[untargeted] == NO_ANSWER).sum()) if rules == "fair" else 0
    assert won + silent == table.labels[untargeted].size
    assert not (points.fooled[...] & points.correct[...]).any()


def reordered(table, attacks, defenses, images):
    """The same answers with everybody in another order; untargeted attacks stay before targeted ones."""
    return replace(
        table,
        attacks=tuple(table.attacks[number] for number in attacks),
        defenses=tuple(table.defenses[number] for number in defenses),
        images=tuple(table.images[number] for number in images),
        labels=table.labels[attacks][:, :, defenses][..., images],
        valid=table.valid[attacks][..., images],
        clean=table.clean[defenses][:, images],
        true_labels=table.true_labels[images],
        target_classes=table.target_classes[images],
    )


@given(tables(), st.sampled_from(sorted(POLICIES)), st.randoms(use_true_random=False))
def test_the_order_of_images_and_submissions_is_nothing_to_the_scores(table, rules, draw):
    images, defenses = (draw.sample(range(length), length) for length in (len(table.images), len(table.defenses)))
    split = table.untargeted, len(table.attacks)
    untargeted, targeted = draw.sample(range(split[0]), split[0]), draw.sample(range(*split), split[1] - split[0])
    before, after = scores(table, rules), scores(reordered(table, untargeted + targeted, defenses, images), rules)
    assert after["defenses"] == [before["defenses"][number] for number in defenses]
    assert after["attacks"] == [before["attacks"][number] for number in untargeted]
    assert after["targeted"] == [before["targeted"][number - split[0]] for number in targeted]


@given(tables(), st.sampled_from(sorted(POLICIES)), st.data())
def test_who_hands_in_the_same_twice_ties_with_himself(table, rules, data):
    """And takes nothing from other defenses by it, nor from other attacks."""
    if not table.labels.size:
        return
    attack, defense = (data.draw(st.integers(0, length - 1)) for length in table.labels.shape[::2])
    before = scores(table, rules)
    places = [*range(len(table.defenses)), defense]
    with_defense = scores(reordered(table, [*range(len(table.attacks))], places, [*range(len(table.images))]), rules)
    assert with_defense["defenses"] == [*before["defenses"], before["defenses"][defense]]
    places = sorted([*range(len(table.attacks)), attack])
    twice = reordered(table, places, [*range(len(table.defenses))], [*range(len(table.images))])
    twice = replace(twice, untargeted=table.untargeted + (attack < table.untargeted))
    found, old = (kind["attacks"] + kind["targeted"] for kind in (scores(twice, rules), before))
    assert found == [old[number] for number in places]


@given(tables(), st.sampled_from(["fair", "nips17-dev"]))
def test_two_rounds_on_different_images_add_up(table, rules):
    """Under rules that leave nobody out, a score is a sum over images."""
    everybody = [*range(len(table.attacks))], [*range(len(table.defenses))]
    parts = [scores(reordered(table, *everybody, [image]), rules) for image in range(len(table.images))]
    for kind, total in scores(table, rules).items():
        assert total == [sum(part[kind][number] for part in parts) for number in range(len(total))]


def test_every_rule_set_has_a_policy_and_no_other_is_known():
    assert set(POLICIES) == {"fair", "nips17-dev", "nips17-final"}
    table = score_table(np.ones((1, 1, 1, 1)))
    for rules in POLICIES:
        count_points(table, rules)
    with pytest.raises(ValueError, match="no rule set 'unfair'; there are fair, nips17-dev, nips17-final"):
        count_points(table, "unfair")


def test_an_example_that_can_be_counted_by_hand():
    """Two attacks on two images, the second attack without its second image; one answer is missing."""
    table = score_table(
        [[[[1, 2], [1, NO_ANSWER]]], [[[3, 1], [1, 1]]]],
        valid=[[[True, True]], [[True, False]]],
        true=[1, 1],
        target=[2, 2],
    )
    assert scores(table, "fair") == {"defenses": [2, 3], "attacks": [1, 1], "targeted": []}
    assert scores(table, "nips17-dev") == {"defenses": [1, 2], "attacks": [2, 3], "targeted": []}
    assert scores(table, "nips17-final") == {"defenses": [1, 1], "attacks": [1, 1], "targeted": []}


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], []),
        ([5], [1]),
        ([3, 5, 4], [3, 1, 2]),
        ([5, 4, 4, 3], [1, 2, 2, 4]),
        ([0, 0, 0], [1, 1, 1]),
        ([1, 2, 2, 2, 3, 3], [6, 3, 3, 3, 1, 1]),
    ],
)
def test_equal_scores_share_a_rank(points, expected):
    assert ranks(np.array(points, dtype=np.int64)) == expected


@given(st.lists(st.integers(0, 5)))
def test_ranks_follow_scores(points):
    found = ranks(np.array(points, dtype=np.int64))
    for rank, score in zip(found, points, strict=True):
        assert rank == 1 + sum(other > score for other in points)
