"""What a defense is asked decides whether it can cheat: it sees images under names and in an order from which neither
the picture nor the attack can be told. And the key of a call depends on nothing but what is computed, or a renamed
competitor would be played again."""

from dataclasses import replace

import pytest
from helpers import make_player
from hypothesis import given
from hypothesis import strategies as st

from harness.digest import digest_value
from harness.plan import attack_call, defense_call, player_seed
from harness.records import Limits
from harness.round import RoundImage

digests = st.integers(0, 60).map(lambda number: digest_value("image", number))


def batch(count=3):
    return tuple(RoundImage(f"img{n}", f"source{n}", f"clean{n}", n, 100 + n) for n in range(count))


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
