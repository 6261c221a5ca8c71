"""The program of every defense that is made of networks, input transformations and votes.

    networks: {efficientnet_lite0: 1, efficientnet_lite1: 2}
    transforms:
      - {name: bit_depth, bits: 5}
    passes: 1
    vote:
      - [{name: median, size: 2}]
      - [{name: jpeg, quality: 75}]

A voter is one list of transforms: `transforms`, then its own of `vote`. It finds the probabilities of an image's
classes: the mean over the networks, by their weights, and over `passes`, in each of which random transforms are
drawn anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from advkit.images import Pixels
from advkit.labels import LabelSpace
from advkit.networks import common_labels, load_network
from advkit.run import DefenseJob
from advkit.tensors import batch_size, to_tensor
from advkit.transforms import Generators, Transform, make_transforms


@dataclass(frozen=True)
class Config:
    """Keys of `config.yaml`; networks are those of `advkit.networks`, transforms those of `advkit.transforms`."""

    networks: str | list[str] | dict[str, float]  # one; several with one weight; or several with a weight each
    transforms: list[dict[str, Any]] = field(default_factory=list)
    passes: int = 1
    vote: list[list[dict[str, Any]]] = field(default_factory=lambda: [[]])


@dataclass(frozen=True)
class Classifier:
    """What finds the probabilities of an image's classes, for each voter."""

    members: Sequence[tuple[nn.Module, float]]
    voters: Sequence[Sequence[Transform]]
    passes: int

    @property
    def labels(self) -> LabelSpace:
        """The label space of the networks, which is one."""
        return common_labels(network for network, _ in self.members)

    def probabilities(self, pixels: Pixels, generators: Generators) -> Tensor:
        """Voters x N x classes, each row with the sum 1, of N images with one generator each."""
        voters = [self._mean_of_passes(transforms, pixels, generators) for transforms in self.voters]
        return torch.stack(voters)

    def _mean_of_passes(self, transforms: Sequence[Transform], pixels: Pixels, generators: Generators) -> Tensor:
        drawn = (_apply(transforms, pixels, generators) for _ in range(self.passes))
        return torch.stack([self.mean_of_networks(to_tensor(image)) for image in drawn]).mean(dim=0)

    def mean_of_networks(self, x: Tensor) -> Tensor:
        """The networks' probabilities N x classes of x, float32 N x 3 x height x width, 0..1."""
        weighted = [weight * network(x).softmax(dim=1) for network, weight in self.members]
        return torch.stack(weighted).sum(dim=0) / sum(weight for _, weight in self.members)


def classify(job: DefenseJob) -> None:
    """Label every image with the class that the voters elect."""
    classifier = make_classifier(job.read_config(Config))
    for batch in job.batches(batch_size(classifier.mean_of_networks, *job.image_size)):
        generators = [job.generator(image) for image in batch.pixels]
        with torch.inference_mode():
            classes = elect(classifier.probabilities(batch.pixels, generators))
        job.answer(batch, [classifier.labels.label_of(index) for index in classes.tolist()])


def make_classifier(config: Config) -> Classifier:
    """Raises KitError for an unknown network or transform, and for a network whose weights are missing."""
    voters = [make_transforms([*config.transforms, *own]) for own in config.vote]
    names = [config.networks] if isinstance(config.networks, str) else config.networks
    weights = names.values() if isinstance(names, dict) else [1.0] * len(names)
    members = [(load_network(name), weight) for name, weight in zip(names, weights, strict=True)]
    return Classifier(members, voters, config.passes)


def elect(probabilities: Tensor) -> Tensor:
    """The class, int64, N, that most voters find likeliest, of their probabilities voters x N x classes.

    Of classes with as many votes the one with the highest mean probability is elected.
    """
    ballots = torch.zeros_like(probabilities).scatter_(2, probabilities.argmax(dim=2, keepdim=True), 1)
    votes = ballots.sum(dim=0)
    others = votes < votes.amax(dim=1, keepdim=True)
    return probabilities.mean(dim=0).masked_fill(others, -1).argmax(dim=1)


def _apply(transforms: Sequence[Transform], pixels: Pixels, generators: Generators) -> Pixels:
    for transform in transforms:
        pixels = transform(pixels, generators)
    return pixels
