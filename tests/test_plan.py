"""What a defense is asked decides whether it can cheat: it sees each image once, at most one version of a picture in a
call, under names and in an order from which neither the picture nor the attack can be told. And the key of a call
depends on nothing but what is computed, or a renamed competitor would be played again."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from helpers import make_player
from hypothesis import given
from hypothesis import strategies as st

from harness.digest import digest_value
from harness.plan import MIXED_VERSIONS, DefenseQueue, attack_call, defense_call, player_seed
from harness.records import Limits
from harness.round import RoundImage

digests = st.integers(0, 60).map(lambda number: digest_value("image", number))

asked = st.lists(
    st.tuples(st.integers(0, 8).map("picture{}".format), digests), max_size=60, unique_by=lambda pair: pair[1]
)
"""(picture, digest) pairs; several digests may be versions of one picture."""


def batch(count=3):
    return tuple(RoundImage(f"img{n}", f"source{n}", f"clean{n}", n, 100 + n) for n in range(count))


def drain(queue):
    calls = []
    while queue:
        before = len(queue)
        calls.append(queue.take())
        assert len(queue) == before - len(calls[-1].images)
    return calls


# --- calls of attacks


def test_an_attack_sees_names_images_and_never_a_true_label():
    call = attack_call(make_player("attack"), 8, 0, batch())
    assert dict(call.images) == {"img0.png": "clean0", "img1.png": "clean1", "img2.png": "clean2"}
    assert call.targets is None
    assert (call.unit.epsilon, call.seconds, call.entry_point) == (8, 500.0, "run.sh")


def test_a_targeted_attack_is_told_the_targets():
    call = attack_call(make_player("targeted_attack"), 8, 0, batch())
    assert dict(call.targets) == {"img0.png": 100, "img1.png": 101, "img2.png": 102}


def key(player=None, epsilon=8, number=0, images=None):
    return attack_call(player or make_player("attack"), epsilon, number, images or batch()).unit.key


def test_names_of_players_and_batches_are_no_part_of_the_key():
    assert key(make_player("attack", "other")) == key()
    assert key(number=7) == key()


@pytest.mark.parametrize(
    "other",
    [
        {"epsilon": 9},
        {"images": batch(2)},
        {"images": tuple(reversed(batch()))},
        {"images": (replace(batch()[0], id="other"), *batch()[1:])},
        {"images": (replace(batch()[0], clean="other"), *batch()[1:])},
        {"player": make_player("attack", digest="e" * 64)},
        {"player": make_player("attack", seed=2)},
        {"player": make_player("attack", limits=Limits(seconds=9))},
        {"player": make_player("targeted_attack")},
        {"player": replace(make_player("attack"), gpu=True)},
    ],
    ids=["epsilon", "fewer", "order", "names", "pixels", "code", "seed", "limits", "role", "gpu"],
)
def test_all_that_is_computed_from_is_part_of_the_key(other):
    assert key(**other) != key()


@pytest.mark.parametrize("role", ["attack", "defense"])
def test_a_call_says_whether_it_gets_a_gpu(role):
    """What is computed on a GPU has other bits, so it is known under another name."""
    without, with_gpu = make_player(role), replace(make_player(role), gpu=True)
    for player in (without, with_gpu):
        call = defense_call(player, ["x"], 1) if role == "defense" else attack_call(player, 8, 0, batch())
        assert call.unit.gpu is player.gpu
        assert call.unit.player == player.key
    assert without.key != with_gpu.key


def test_true_labels_and_files_are_no_part_of_the_key_and_targets_only_of_a_targeted_one():
    retold = tuple(replace(image, source="other file", true_label=9) for image in batch())
    assert key(images=retold) == key()
    retargeted = tuple(replace(image, target_class=9) for image in batch())
    assert key(images=retargeted) == key()
    targeted = make_player("targeted_attack")
    assert key(targeted, images=retargeted) != key(targeted)


def test_each_submission_has_a_seed_of_its_own_whatever_it_is_called():
    one, same, other = (
        make_player(name=name, digest=d * 64).submission for name, d in (("x", "d"), ("y", "d"), ("x", "e"))
    )
    assert player_seed(0, one) == player_seed(0, same) != player_seed(0, other)
    assert player_seed(0, one) != player_seed(1, one)


# --- calls of defenses


@given(st.lists(digests, unique=True, min_size=1), st.randoms())
def test_names_and_order_do_not_depend_on_the_order_of_asking(images, random):
    shuffled = list(images)
    random.shuffle(shuffled)
    one, two = (defense_call(make_player(), order, 100) for order in (images, shuffled))
    assert list(one.images.items()) == list(two.images.items())
    assert one.unit.key == two.unit.key
    assert sorted(one.images.values()) == sorted(images)


@given(st.lists(digests, unique=True, min_size=1))
def test_names_tell_nothing(images):
    call = defense_call(make_player(), images, 100)
    for name, digest in call.images.items():
        stem = name.removesuffix(".png")
        assert len(stem) == 16
        assert stem not in digest
        assert digest[:8] not in name
    assert list(call.images) == sorted(call.images)


def test_names_are_other_ones_for_another_defense_and_another_seed():
    names = [
        set(defense_call(player, ["x" * 64], 100).images)
        for player in (make_player(), make_player(digest="e" * 64), make_player(seed=2))
    ]
    assert not names[0] & names[1]
    assert not names[0] & names[2]


@pytest.mark.parametrize(("images", "seconds"), [(1, 500), (100, 500), (101, 1000), (250, 1500)])
def test_time_grows_with_the_number_of_batches(images, seconds):
    assert defense_call(make_player(), map(str, range(images)), 100).seconds == seconds


# --- the queue


def make_queue(known=(), pictures=9, batch_size=5, *, all_versions=False, seed=1):
    return DefenseQueue(make_player(seed=seed), known, pictures, batch_size, all_versions=all_versions)


@given(asked, st.sets(digests, max_size=20), st.integers(1, 12), st.booleans(), st.data())
def test_every_unknown_image_is_asked_exactly_once(pairs, known, batch_size, all_versions, data):
    queue = make_queue(known, batch_size=batch_size, all_versions=all_versions)
    calls = []
    for picture, digest in pairs + pairs[::2]:
        queue.add(picture, digest)
        if queue and data.draw(st.booleans()):
            calls.append(queue.take())
    calls += drain(queue)
    sent = Counter(digest for call in calls for digest in call.images.values())
    assert sent == Counter({digest for _, digest in pairs} - known)
    assert not queue
    assert all(call.images for call in calls)


@given(asked, st.integers(1, 12))
def test_a_call_has_at_most_one_version_of_a_picture_and_at_most_a_batch(pairs, batch_size):
    queue = make_queue(batch_size=batch_size)
    for picture, digest in pairs:
        queue.add(picture, digest)
    picture_of = {digest: picture for picture, digest in pairs}
    for call in drain(queue):
        pictures = [picture_of[digest] for digest in call.images.values()]
        assert len(pictures) == len(set(pictures)) <= batch_size


@given(asked)
def test_all_versions_go_together_where_that_is_asked_for(pairs):
    queue = make_queue(batch_size=2, all_versions=True)
    for picture, digest in pairs:
        queue.add(picture, digest)
    assert len(drain(queue)) == (1 if pairs else 0)


@given(asked, st.integers(1, 12))
def test_there_are_no_more_calls_than_there_have_to_be(pairs, batch_size):
    """Pictures with many versions go first: greedy is the best that one version a call allows."""
    queue = make_queue(batch_size=batch_size)
    for picture, digest in pairs:
        queue.add(picture, digest)
    versions = Counter(picture for picture, _ in pairs)
    least = max([-(-len(pairs) // batch_size), *versions.values()])
    assert len(drain(queue)) == least


@pytest.mark.parametrize(
    ("pictures", "batch_size"), [(9, 5), (3, 5), (1, 100)], ids=["batch", "few-pictures", "one-picture"]
)
def test_a_queue_is_mixed_when_a_full_call_has_versions_to_draw_from(pictures, batch_size):
    queue = make_queue(pictures=pictures, batch_size=batch_size)
    full = min(pictures, batch_size)
    pairs = [(f"p{picture}", f"{version}-{picture}") for version in range(MIXED_VERSIONS) for picture in range(full)]
    for picture, digest in pairs:
        assert not queue.is_mixed
        queue.add(picture, digest)
    assert queue.is_mixed
    queue.take()
    assert not queue.is_mixed


def test_versions_that_are_known_do_not_mix():
    queue = make_queue(["0", "1", "2"], pictures=1)
    for version in range(MIXED_VERSIONS):
        queue.add("p", str(version))
    assert not queue.is_mixed


@given(asked)
def test_where_all_versions_go_together_nothing_is_waited_for_to_mix(pairs):
    queue = make_queue(pictures=1, all_versions=True)
    for picture, digest in pairs:
        queue.add(picture, digest)
    assert not queue.is_mixed


def test_the_draw_is_seeded_and_mixes_the_versions():
    def first_calls(seed):
        queue = make_queue(pictures=30, batch_size=30, seed=seed)
        for version in "ab":
            for picture in range(30):
                queue.add(f"p{picture}", f"{version}{picture}")
        return set(queue.take().images.values())

    assert first_calls(1) == first_calls(1) != first_calls(2)
    assert 0 < sum(digest.startswith("a") for digest in first_calls(1)) < 30


def test_a_queue_has_a_generator_of_its_own():
    random.seed(0)
    before = random.getstate()
    queue = make_queue()
    queue.add("p", "a")
    queue.take()
    assert random.getstate() == before
