"""The score table is put together from the store alone: an answer belongs to an image by its digest, whichever call it
came from, and what is not known is said to be unknown and not taken for a wrong answer."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from helpers import make_round, score_table
from hypothesis import given
from hypothesis import strategies as st

from harness.assembly import (
    AUDIT_COLUMNS,
    StoredAudits,
    assemble,
    assemble_in_file,
    count_faults,
    image_budgets,
    read_audits,
)
from harness.digest import digest_value
from harness.index import Index
from harness.leaderboard import build_leaderboard
from harness.records import Fault, ImageAudit, Limits, Outcome, Prediction, Role, Verdict, WorkUnit
from harness.scoring import NO_ANSWER, UNKNOWN, let_go


class Unit(WorkUnit):
    """A work unit whose key and player are what the round of a test calls them."""

    key = property(lambda self: self.inputs)
    player = property(lambda self: self.submission)


def of(name):
    """A digest for what a test calls by a name."""
    return digest_value("test", name)


def record(index, player, key, **produced):
    unit = Unit(Role.ATTACK, player, "", key, 4, 0, Limits())
    index.record(unit, key, Outcome(key, Verdict.OK, 0, 1.0, 0, "", **produced), "now")


def with_digests(round_):
    """The round with digests for the names that `make_round` has."""
    return replace(
        round_,
        images=tuple(replace(image, clean=of(image.clean)) for image in round_.images),
        attacks=tuple(
            replace(one, player=of(one.player), units=tuple(tuple(map(of, keys)) for keys in one.units))
            for one in round_.attacks
        ),
        defenses=tuple(replace(one, player=of(one.player)) for one in round_.defenses),
    )


def attack_audits(round_, attack, epsilon, batch):
    """Audits of a call: the second image of a batch has a fault, the third is the clean one again."""
    for number, image in enumerate(round_.batches[batch]):
        clean = image.clean
        if number == 1:
            yield ImageAudit(image.id, clean, Fault.CORRUPT)
        else:
            digest = clean if number == 2 else of(f"{attack.name} {epsilon} {image.id}")
            yield ImageAudit(image.id, digest, None, 20 + number, 3, 4, 5.5, 0.25)


def play(index, round_, skip=()):
    for attack in round_.attacks:
        for epsilon, keys in enumerate(attack.units):
            for batch, key in enumerate(keys):
                if key not in skip:
                    record(index, attack.player, key, images=tuple(attack_audits(round_, attack, epsilon, batch)))


@pytest.fixture
def round_():
    """Three attacks (one targeted), two budgets, two defenses, five images in batches of three."""
    return with_digests(make_round(score_table(np.zeros((3, 2, 2, 5)), untargeted=2), batch_size=3))


@pytest.fixture
def index(tmp_path):
    with closing(Index(tmp_path / "index.sqlite")) as index:
        yield index


def test_audits_find_their_places(index, round_):
    play(index, round_)
    table = read_audits(round_, index)
    assert table.digests[1, 1].tolist() == [*map(of, ["a1 1 i0", "clean i1", "clean i2", "a1 1 i3", "clean i4"])]
    assert table.faults[1, 1].tolist() == ["", "corrupt", "", "", "corrupt"]
    assert table.measures["raw_linf"][0, 0].tolist() == [20, 0, 22, 20, 0]
    assert table.measures["l2"][2, 1].tolist() == [5.5, 0, 5.5, 5.5, 0]
    assert count_faults(table.faults) == {"corrupt": 12}


def test_calls_that_were_not_made_leave_their_places_empty(index, round_):
    play(index, round_, skip={round_.attacks[0].units[1][0]})
    table = read_audits(round_, index)
    assert table.digests[0, 1].tolist() == ["", "", "", of("a0 1 i3"), of("clean i4")]
    found = assemble(round_, index)
    assert found.valid[0, 1].tolist() == [False, False, False, True, False]
    assert (found.labels[0, 1, :, :3] == UNKNOWN).all()


def test_answers_find_their_places_by_the_images_digest(index, round_):
    play(index, round_)
    answers = {"clean i0": 10, "clean i1": 11, "clean i2": None, "a0 0 i0": 12, "a2 1 i3": 13}
    given = tuple(Prediction(of(name), label) for name, label in answers.items())
    record(index, of("player of d1"), of("x"), predictions=given)
    table = assemble(round_, index)
    assert table.clean.tolist() == [[UNKNOWN] * 5, [10, 11, NO_ANSWER, UNKNOWN, UNKNOWN]]
    assert table.labels[0, 0, 1].tolist() == [12, 11, NO_ANSWER, UNKNOWN, UNKNOWN]
    assert table.labels[2, 1, 1].tolist() == [UNKNOWN, 11, NO_ANSWER, 13, UNKNOWN]
    assert (table.labels[:, :, 0] == UNKNOWN).all()
    assert table.valid[0, 0].tolist() == [True, False, True, True, False]


def test_audits_are_the_same_when_each_attack_is_read_alone(index, round_):
    play(index, round_, skip={round_.attacks[0].units[1][0]})
    table, stored = read_audits(round_, index), StoredAudits(round_, index)
    assert np.array_equal(stored.valid, table.valid)
    for attack in range(len(round_.attacks)):
        assert stored.digests_of(attack).tolist() == table.digests[attack].tolist()
        assert stored.faults_of(attack).tolist() == table.faults[attack].tolist()
        measures = stored.measures_of(attack)
        assert all(np.array_equal(measures[name], table.measures[name][attack]) for name in AUDIT_COLUMNS)


@pytest.mark.parametrize("attacks", [0, 1, 3])
@pytest.mark.parametrize("defenses", [0, 2])
def test_a_round_in_a_file_is_the_same_as_in_memory(index, tmp_path, attacks, defenses):
    round_ = with_digests(make_round(score_table(np.zeros((attacks, 2, defenses, 5))), batch_size=3))
    play(index, round_)
    for number, defense in enumerate(round_.defenses):
        asked = [image.clean for image in round_.images] + [of("a0 0 i0"), of("a1 1 i3")]
        given = tuple(Prediction(digest, 1 + (number + place) % 3) for place, digest in enumerate(asked))
        record(index, defense.player, of(f"call {number}"), predictions=given)
    folder = tmp_path / "results"
    folder.mkdir()
    audits = StoredAudits(round_, index)
    whole, filed = assemble(round_, index), assemble_in_file(round_, index, audits, folder)
    let_go(filed.labels)
    assert list(folder.iterdir()) == []
    assert (filed.labels.tolist(), filed.clean.tolist()) == (whole.labels.tolist(), whole.clean.tolist())
    boards = build_leaderboard(round_, filed, audits, "fair"), build_leaderboard(round_, whole, audits, "fair")
    assert boards[0] == boards[1] == build_leaderboard(round_, whole, read_audits(round_, index), "fair")


def test_the_axes_are_the_rounds(index, round_):
    table = assemble(round_, index)
    assert (table.attacks, table.untargeted, table.defenses) == (("a0", "a1", "a2"), 2, ("d0", "d1"))
    assert (table.epsilons, table.images) == (("4", "5"), ("i0", "i1", "i2", "i3", "i4"))
    assert table.labels.shape == (3, 2, 2, 5)
    assert table.true_labels.tolist() == [1] * 5
    assert table.target_classes.tolist() == [2] * 5


@pytest.mark.parametrize("attacks", [0, 1])
@pytest.mark.parametrize("defenses", [0, 1])
def test_a_round_may_have_no_attacks_or_no_defenses(index, attacks, defenses):
    round_ = with_digests(make_round(score_table(np.zeros((attacks, 1, defenses, 2)))))
    play(index, round_)
    table = assemble(round_, index)
    assert table.labels.shape == (attacks, 1, defenses, 2)
    assert table.holes == defenses * 2 * (attacks + 1)


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 3))
def test_budgets_are_dealt_out_by_batch(images, batch_size, epsilons):
    round_ = make_round(score_table(np.zeros((1, epsilons, 1, images))), batch_size)
    budgets = tuple(tuple(range(10 * row, 10 * row + len(round_.batches))) for row in range(epsilons))
    found = image_budgets(replace(round_, budgets=budgets))
    expected = [[row[position // batch_size] for position in range(images)] for row in budgets]
    assert found.tolist() == expected


def test_a_batch_may_be_far_larger_than_the_dataset():
    round_ = make_round(score_table(np.zeros((1, 1, 1, 3))), 10**12)
    assert image_budgets(round_).tolist() == [[4, 4, 4]]
