"""A defense is asked about each image once, whatever ends when: what is asked twice costs machines, what is left out
costs the board. It never sees two versions of a picture in one call, or it could average them. And the counts of what
is left, which are kept and never made anew, are those that a plain reference has."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.schedule import MIXED_VERSIONS, Agenda, AttackTask, DefenseTask

BATCH = 3


def offer(agenda, pairs):
    """Offers (picture, image) pairs, each picture at most once in an offer."""
    rest = list(pairs)
    while rest:
        now = dict(reversed(rest))
        agenda.offer(np.array(list(now)), np.array(list(now.values()), dtype=np.uint32))
        rest = [pair for pair in rest if now[pair[0]] != pair[1]]


def know(agenda, defense, images):
    agenda.know(defense, np.array(sorted(images), dtype=np.uint32))


def drain(agenda, choose=min):
    tasks = []
    while task := agenda.take(choose):
        tasks.append(task)
        agenda.settle(task)
    return tasks


versions = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 70)), max_size=60, unique_by=lambda pair: pair[1])
"""(picture, image) pairs, every image a version of one picture."""

many = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 30)), max_size=60)
"""The same, where an image may come again, of whatever picture."""


# --- a whole round against a plain reference


@dataclass
class Plain:
    """What is left, with sets and loops. out: images that a defense was asked and has not answered. waiting: calls of
    attacks that are not begun."""

    defenses: int
    known: list[set[int]]
    picture_of: dict[int, int] = field(default_factory=dict)
    asked: Counter[tuple[int, int]] = field(default_factory=Counter)
    out: list[int] = field(default_factory=list)
    to_make: Counter[int] = field(default_factory=Counter)
    waiting: int = 0

    def __post_init__(self):
        self.out = [0] * self.defenses

    def offer(self, pairs):
        for picture, image in pairs:
            self.picture_of.setdefault(image, picture)

    def unasked(self, defense):
        return {
            image for image in self.picture_of if image not in self.known[defense] and not self.asked[defense, image]
        }

    def first(self, full):
        """Defenses that go before any attack: with the most to label of those that have `full` pictures to mix."""
        left = [Counter(self.picture_of[image] for image in self.unasked(one)) for one in range(self.defenses)]
        mixed = [one for one in range(self.defenses) if sum(n >= MIXED_VERSIONS for n in left[one].values()) >= full]
        most = max((left[one].total() for one in mixed), default=0)
        return [one for one in mixed if left[one].total() == most]

    def check(self, agenda):
        left = [len(self.unasked(defense)) for defense in range(self.defenses)]
        assert agenda.to_answer.tolist() == [a + b for a, b in zip(left, self.out, strict=True)]
        assert agenda.to_make.tolist() == [self.to_make[attack] for attack in range(len(agenda.to_make))]


@dataclass(frozen=True)
class Made:
    """A round: what each batch of each attack makes. images: by picture, some of them those of others or the clean."""

    pictures: int
    attacks: list[list[int]]
    clean: list[int]


@st.composite
def rounds(draw):
    pictures = draw(st.integers(1, 10))
    number = st.integers(1, 60)
    rows = st.lists(number, min_size=pictures, max_size=pictures)
    return Made(pictures, draw(st.lists(rows, max_size=5)), draw(rows))


@given(
    round_=rounds(),
    defenses=st.integers(0, 4),
    all_versions=st.booleans(),
    slots=st.integers(1, 5),
    order=st.integers(0, 2**32),
    data=st.data(),
)
def test_every_image_is_asked_of_every_defense_once_whatever_ends_when(
    round_, defenses, all_versions, slots, order, data
):
    known = [data.draw(st.sets(st.integers(1, 60), max_size=20)) for _ in range(defenses)]
    done = data.draw(st.sets(st.integers(0, 60), max_size=4))
    lost = data.draw(st.sets(st.integers(0, 60), max_size=2))
    draw, running, number = Random(order), [], 0
    agenda = Agenda(round_.pictures, BATCH, len(round_.attacks), range(defenses), all_versions=all_versions)
    plain = Plain(defenses, known)

    def offered(pictures, images):
        pairs = list(zip(pictures, images, strict=True))
        plain.offer(pairs)
        agenda.offer(np.array(pictures), np.array(images, dtype=np.uint32))

    for defense, images in enumerate(known):
        know(agenda, defense, images)
    offered(range(round_.pictures), round_.clean)
    for attack, images in enumerate(round_.attacks):
        for start in range(0, round_.pictures, BATCH):
            pictures, number = range(start, min(start + BATCH, round_.pictures)), number + 1
            if number in done:
                offered(pictures, images[start : start + BATCH])
            else:
                agenda.add_attack(AttackTask(attack, 0, start // BATCH, pictures))
                plain.to_make[attack] += len(pictures)
                plain.waiting += 1
    plain.check(agenda)
    while True:
        while len(running) < slots:
            first = plain.first(min(round_.pictures, BATCH)) if not all_versions else []
            task = agenda.take(draw.choice)
            if task is None:
                break
            is_attack = isinstance(task, AttackTask)
            assert not is_attack and task.defense in first if first else is_attack or not plain.waiting
            plain.waiting -= is_attack
            running.append(task)
            if isinstance(task, DefenseTask):
                check_call(plain, task, all_versions)
        plain.check(agenda)
        if not running:
            break
        task = running.pop(draw.randrange(len(running)))
        agenda.settle(task)
        if isinstance(task, DefenseTask):
            plain.out[task.defense] -= task.images
        else:
            plain.to_make[task.attack] -= task.images
            if task.batch not in lost:  # else it was given up
                made = round_.attacks[task.attack][task.pictures.start : task.pictures.stop]
                offered(task.pictures, made)
        plain.check(agenda)
    assert not any(plain.unasked(defense) for defense in range(defenses))
    assert set(plain.asked.values()) <= {1}
    assert not agenda.to_answer.any()
    assert not agenda.to_make.any()


def check_call(plain, task, all_versions):
    """A call asks what is there and was not asked, one version of a picture; and notes it."""
    images = task.asked.tolist()
    assert images
    assert set(images) <= plain.unasked(task.defense)
    pictures = [plain.picture_of[image] for image in images]
    assert all_versions or len(set(pictures)) == len(pictures) <= BATCH
    plain.asked.update((task.defense, image) for image in images)
    plain.out[task.defense] += len(images)


# --- calls of a defense


def one_defense(pictures=9, batch_size=5, *, all_versions=False, seed=1):
    return Agenda(pictures, batch_size, 1, [seed], all_versions=all_versions)


@given(many, st.sets(st.integers(1, 30), max_size=20), st.integers(1, 12), st.booleans(), st.data())
def test_an_image_that_comes_again_is_not_asked_again(pairs, known, batch_size, all_versions, data):
    agenda, tasks = one_defense(batch_size=batch_size, all_versions=all_versions), []
    know(agenda, 0, known)
    for pair in pairs + pairs[::2]:
        offer(agenda, [pair])
        if data.draw(st.booleans()) and (task := agenda.take()):
            tasks.append(task)
    tasks += drain(agenda)
    sent = Counter(image for task in tasks for image in task.asked.tolist())
    assert sent == Counter({image for _, image in pairs} - known)


@given(versions, st.integers(1, 12), st.integers(1, 3))
def test_a_call_has_at_most_one_version_of_a_picture_and_at_most_its_batches(pairs, batch_size, batches):
    agenda = one_defense(batch_size=batch_size)
    agenda.batches[0] = batches
    offer(agenda, pairs)
    picture_of = {image: picture for picture, image in pairs}
    for task in drain(agenda):
        pictures = [picture_of[image] for image in task.asked.tolist()]
        assert len(pictures) == len(set(pictures)) <= batch_size * batches


@given(versions)
def test_all_versions_go_together_where_that_is_asked_for(pairs):
    agenda = one_defense(batch_size=2, all_versions=True)
    offer(agenda, pairs)
    assert len(drain(agenda)) == (1 if pairs else 0)


@given(versions, st.integers(1, 12))
def test_there_are_no_more_calls_than_there_have_to_be(pairs, batch_size):
    """Pictures with many versions go first: greedy is the best that one version a call allows."""
    agenda = one_defense(batch_size=batch_size)
    offer(agenda, pairs)
    each = Counter(picture for picture, _ in pairs)
    assert len(drain(agenda)) == max([-(-len(pairs) // batch_size), *each.values()])


def test_the_draw_is_seeded_and_mixes_the_versions():
    def first_call(seed):
        agenda = one_defense(30, 30, seed=seed)
        for version in range(2):
            agenda.offer(np.arange(30), np.arange(30, dtype=np.uint32) + 1 + 30 * version)
        return sorted(agenda.take().asked.tolist())

    assert first_call(1) == first_call(1) != first_call(2)
    assert 0 < sum(image <= 30 for image in first_call(1)) < 30


@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**32))
def test_any_version_may_come_first(pictures, most, seed):
    """What is drawn is one of the versions that are there, also where pictures have different numbers of them."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, most + 1, pictures)
    pairs = [
        (picture, 1 + most * picture + version) for picture in range(pictures) for version in range(counts[picture])
    ]
    agenda = one_defense(pictures, pictures, seed=seed)
    offer(agenda, pairs)
    assert {(image - 1) // most for image in agenda.take().asked.tolist()} == set(range(pictures))


def test_numbers_of_images_may_be_far_apart():
    """A store that many rounds share numbers the images of all of them."""
    agenda = one_defense()
    know(agenda, 0, [5_000_000])
    offer(agenda, [(0, 7), (1, 5_000_000), (2, 20_000_000)])
    assert sorted(agenda.take().asked.tolist()) == [7, 20_000_000]
    assert agenda.take() is None


# --- which call is next


@pytest.mark.parametrize(
    ("pictures", "batch_size", "batches"),
    [(9, 5, 1), (3, 5, 1), (1, 100, 1), (9, 4, 2)],
    ids=["batch", "few-pictures", "one-picture", "two-batches"],
)
def test_a_defense_goes_first_when_a_full_call_has_versions_to_draw_from(pictures, batch_size, batches):
    agenda = one_defense(pictures, batch_size)
    agenda.batches[0] = batches
    for number in range(3 * MIXED_VERSIONS * pictures):
        agenda.add_attack(AttackTask(0, 0, number, range(1)))
    full = min(pictures, batch_size * batches)
    for version in range(MIXED_VERSIONS):
        for picture in range(full):
            assert isinstance(agenda.take(), AttackTask)
            offer(agenda, [(picture, 1 + version * full + picture)])
    task = agenda.take()
    assert (task.defense, task.images) == (0, full)
    assert isinstance(agenda.take(), AttackTask)


def test_many_pictures_of_which_there_is_one_version_each_are_not_mixed():
    """Else the first calls would be of clean images alone, and say so."""
    agenda = one_defense(1000, 5)
    agenda.offer(np.arange(1000), np.arange(1, 1001, dtype=np.uint32))
    agenda.add_attack(AttackTask(0, 0, 0, range(5)))
    assert isinstance(agenda.take(), AttackTask)
    assert isinstance(agenda.take(), DefenseTask)


def test_versions_that_are_known_do_not_mix():
    agenda = one_defense(1)
    know(agenda, 0, [1, 2, 3])
    offer(agenda, [(0, image) for image in (1, 2, 3)])
    assert agenda.take() is None


@given(versions)
def test_where_all_versions_go_together_every_attack_goes_first(pairs):
    agenda = one_defense(1 + max((picture for picture, _ in pairs), default=0), all_versions=True)
    offer(agenda, pairs)
    for number in range(3):
        agenda.add_attack(AttackTask(0, 0, number, range(1)))
    assert [type(task) for task in drain(agenda)] == [AttackTask] * 3 + [DefenseTask] * bool(pairs)


def test_the_chosen_attack_goes_first_and_its_calls_in_their_order():
    agenda = Agenda(4, 2, 3, [])
    for batch in range(2):
        for attack in (2, 0, 1):
            agenda.add_attack(AttackTask(attack, 0, batch, range(2 * batch, 2 * batch + 2)))
    told = []

    def choose(attacks):
        told.append(sorted(attacks))
        return max(attacks)

    tasks = drain(agenda, choose)
    assert [(task.attack, task.batch) for task in tasks] == [(2, 0), (2, 1), (1, 0), (1, 1), (0, 0), (0, 1)]
    assert told == [[0, 1, 2], [0, 1, 2], [0, 1], [0, 1], [0], [0]]


def test_where_no_attack_is_left_the_defense_with_the_most_to_label_goes_first():
    agenda = Agenda(5, 5, 0, [0, 1, 2])
    know(agenda, 0, [1, 2])
    know(agenda, 2, [3])
    offer(agenda, [(picture, picture + 1) for picture in range(5)])
    assert [task.defense for task in drain(agenda)] == [1, 2, 0]
