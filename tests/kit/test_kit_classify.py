"""A defense's answer is the mean and the vote that its config.yaml describes, of one image and nothing else."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from advkit.classify import Classifier, Config, elect, make_classifier
from advkit.errors import KitError
from advkit.images import list_images, read_images
from advkit.networks import load_network
from advkit.run import DefenseJob
from advkit.tensors import to_tensor
from advkit.transforms import make_transforms

CLASSES = 4
RANDOM = [{"name": "random_flip"}, {"name": "random_resize_pad", "smallest": 9, "padded": 12}]


class Linear(nn.Module):
    """A small network whose logits are a fixed linear function of the mean colours of the left half."""

    def __init__(self, seed):
        super().__init__()
        self.weight = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(seed)) * 9

    def forward(self, x):
        return x[..., : x.shape[3] // 2].mean(dim=(2, 3)) @ self.weight


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def generators_of(pixels, seed=0):
    job = DefenseJob(None, None, seed)
    return [job.generator(image) for image in pixels]


def classifier(members=None, vote=((),), passes=1):
    return Classifier(members or [(Linear(0), 1.0)], [make_transforms(own) for own in vote], passes)


def softmax(network, pixels):
    return network(to_tensor(pixels)).softmax(dim=1)


# --- probabilities


def test_without_transforms_they_are_the_softmax(pixels):
    found = classifier().probabilities(pixels, generators_of(pixels))
    assert torch.equal(found, softmax(Linear(0), pixels)[None])


def test_networks_count_by_their_weights(pixels):
    members = [(Linear(0), 1.0), (Linear(1), 2.5)]
    (found,) = classifier(members).probabilities(pixels, generators_of(pixels))
    expected = (softmax(Linear(0), pixels) + 2.5 * softmax(Linear(1), pixels)) / 3.5
    assert torch.allclose(found, expected)
    assert torch.allclose(found.sum(dim=1), torch.ones(len(pixels)))


def test_passes_are_averaged_and_drawn_anew(pixels):
    (found,) = classifier(vote=[RANDOM], passes=7).probabilities(pixels, generators_of(pixels))
    generators, singles = generators_of(pixels), []
    for _ in range(7):
        changed = pixels
        for transform in make_transforms(RANDOM):
            changed = transform(changed, generators)
        singles.append(softmax(Linear(0), changed))
    assert len(torch.unique(torch.stack(singles)[:, 0], dim=0)) > 1
    assert torch.allclose(found, torch.stack(singles).mean(dim=0))


def test_each_voter_has_transforms_of_its_own(pixels):
    vote = [[], [{"name": "bit_depth", "bits": 1}], [{"name": "bit_depth", "bits": 1}, {"name": "median", "size": 3}]]
    found = classifier(vote=vote).probabilities(pixels, generators_of(pixels))
    for own, one in zip(vote, found, strict=True):
        (alone,) = classifier(vote=[own]).probabilities(pixels, generators_of(pixels))
        assert torch.equal(one, alone)
    assert len(torch.unique(found[:, 0], dim=0)) == len(vote)


def test_an_image_does_not_depend_on_its_neighbours(pixels):
    """Each image's transformed pixels are the same bytes; what remains is how a matrix product is summed up."""
    defense = classifier([(Linear(0), 1.0), (Linear(1), 2.0)], vote=[RANDOM, [], RANDOM], passes=3)
    together = defense.probabilities(pixels, generators_of(pixels))
    backwards = defense.probabilities(pixels[::-1], generators_of(pixels[::-1]))
    assert torch.allclose(together, backwards.flip(1), atol=1e-6)
    for index in range(len(pixels)):
        one = pixels[index : index + 1]
        assert torch.allclose(together[:, index : index + 1], defense.probabilities(one, generators_of(one)), atol=1e-6)


def test_a_random_stream_is_of_seed_and_pixels_alone(pixels):
    first, again = (generators_of(pixels) for _ in range(2))
    other_seed = generators_of(pixels, seed=1)
    streams = [[generator.random(4).tolist() for generator in some] for some in (first, again, other_seed)]
    assert streams[0] == streams[1]
    drawn = [tuple(numbers) for some in (streams[0], streams[2]) for numbers in some]
    assert len(set(drawn)) == 2 * len(pixels)
    changed = pixels[0].copy()
    changed[0, 0, 0] ^= 1
    assert DefenseJob(None, None, 0).generator(changed).random(4).tolist() != streams[0][0]
    view = np.asfortranarray(pixels)[0]
    assert DefenseJob(None, None, 0).generator(view).random(4).tolist() == streams[0][0]


# --- the vote


def probabilities_of(*voters):
    """Voters x 1 x classes from the likeliest class of each and how sure it is of it."""
    rows = torch.zeros(len(voters), 1, CLASSES)
    for row, (likeliest, sureness) in zip(rows, voters, strict=True):
        row[0] = (1 - sureness) / (CLASSES - 1)
        row[0, likeliest] = sureness
    return rows


@pytest.mark.parametrize(
    ("voters", "elected"),
    [
        ([(2, 0.4)], 2),
        ([(1, 0.3), (1, 0.3), (3, 0.99)], 1),
        ([(1, 0.5), (3, 0.9)], 3),
        ([(0, 0.9), (1, 0.7), (0, 0.3), (1, 0.6), (2, 0.99)], 1),
        ([(0, 0.4), (1, 0.5), (2, 0.6)], 2),
    ],
    ids=["one", "majority", "a tie goes to the surer", "a tie of two with a third", "all differ"],
)
def test_most_votes_win(voters, elected):
    assert elect(probabilities_of(*voters)).tolist() == [elected]


ROWS = st.lists(st.floats(0.01, 1), min_size=CLASSES, max_size=CLASSES).map(lambda row: [x / sum(row) for x in row])


@given(st.lists(st.lists(ROWS, min_size=2, max_size=2), min_size=1, max_size=6), st.randoms())
def test_the_elected_class_is_that_of_a_plain_count(voters, random):
    rows = torch.tensor(voters)
    for image, found in enumerate(elect(rows).tolist()):
        votes = Counter(int(row[image].argmax()) for row in rows)
        contenders = [index for index, count in votes.items() if count == max(votes.values())]
        sureness = {index: math.fsum(float(row[image][index]) for row in rows) for index in contenders}
        assert sureness[found] == pytest.approx(max(sureness.values()))
    shuffled = random.sample(voters, len(voters))
    winners = [elect(torch.tensor(some)) for some in (voters, shuffled)]
    ties = (winners[0] != winners[1]).nonzero().flatten().tolist()
    for image in ties:  # only where the mean itself hangs on the last bit
        means = rows.mean(dim=0)[image]
        assert means[winners[0][image]].item() == pytest.approx(means[winners[1][image]].item())


# --- from the configuration


@pytest.mark.parametrize("networks", ["efficientnet_lite0", ["efficientnet_lite0"], {"efficientnet_lite0": 3}])
def test_one_network_is_itself_however_it_is_written(photos, networks):
    pixels = read_images(list_images(photos.folder)[:2])
    (found,) = make_classifier(Config(networks)).probabilities(pixels, generators_of(pixels))
    with torch.no_grad():
        expected = load_network("efficientnet_lite0")(to_tensor(pixels)).softmax(dim=1)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_list_of_networks_gives_all_the_same_weight():
    members = make_classifier(Config(["efficientnet_lite0", "efficientnet_lite1"])).members
    assert [weight for _, weight in members] == [1, 1]
    members = make_classifier(Config({"efficientnet_lite0": 1, "efficientnet_lite1": 2.5})).members
    assert [weight for _, weight in members] == [1, 2.5]


def test_common_transforms_come_before_those_of_a_voter(pixels):
    config = Config(
        "efficientnet_lite0", [{"name": "median", "size": 3}], vote=[[], [{"name": "bit_depth", "bits": 1}]]
    )
    plain, both = make_classifier(config).voters
    assert [len(plain), len(both)] == [1, 2]
    median, bit_depth = make_transforms([{"name": "median", "size": 3}, {"name": "bit_depth", "bits": 1}])
    changed = both[1](both[0](pixels, []), [])
    assert np.array_equal(changed, bit_depth(median(pixels, []), []))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config({"efficientnet_lite9": 1}), "network 'efficientnet_lite9' is unknown"),
        (Config("efficientnet_lite0", vote=[[{"name": "mediam", "size": 2}]]), "did you mean median"),
    ],
)
def test_an_unknown_name_is_one_line(config, message):
    with pytest.raises(KitError, match=message):
        make_classifier(config)
