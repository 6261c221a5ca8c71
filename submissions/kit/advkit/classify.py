"""The program of a defense that is one network behind input transformations."""

from dataclasses import dataclass, field
from typing import Any

import torch

from advkit.labels import label_of
from advkit.networks import load_network, predict
from advkit.run import DefenseJob
from advkit.tensors import batch_size, to_tensor
from advkit.transforms import make_transforms


@dataclass(frozen=True)
class Config:
    """Keys of `config.yaml`: a network of `advkit.networks`, transforms of `advkit.transforms` in order."""

    network: str
    transforms: list[dict[str, Any]] = field(default_factory=list)


def classify(job: DefenseJob) -> None:
    """Label every image with the likeliest class of the network."""
    config = job.read_config(Config)
    transforms = make_transforms(config.transforms)
    network = load_network(config.network)
    for batch in job.batches(batch_size()):
        pixels = batch.pixels
        for transform in transforms:
            pixels = transform(pixels)
        with torch.inference_mode():
            classes = predict(network, to_tensor(pixels))
        job.answer(batch, [label_of(index) for index in classes.tolist()])
