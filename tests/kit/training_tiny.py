"""Data of random pictures and models that learn them at once, for tests of the training."""

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from advkit.networks.small import SMALL
from training.data import Data, digest_of
from training.recipe import Model
from training.train import train

QUICK = {"architecture": "grey_vgg", "epochs": 2, "batch": 8, "learning_rate": 0.01}


def random_data(number=32, held_out=16, side=28, channels=1, seed=0):
    """Pictures whose classes are in turn."""
    generator = np.random.default_rng(seed)
    train_x, dev_x = (
        generator.integers(0, 256, (count, side, side, channels), dtype=np.uint8) for count in (number, held_out)
    )
    train_y, dev_y = (np.arange(count) % 10 for count in (number, held_out))
    return Data("digits", train_x, train_y, dev_x, dev_y, digest_of((train_x, train_y, dev_x, dev_y)))


def quick_model(**keys):
    return Model(**{**QUICK, **keys})


def silent(done, total, row=None):
    """A report that says nothing."""


def trained(folder, model, static=(), data=None, seed=5, report=silent):
    return train(model, data or random_data(), static, seed, folder / "a.checkpoint", report)


def static_source(seed=1):
    torch.manual_seed(seed)
    return SMALL["model_d"]().eval().requires_grad_(False)


class Linear(nn.Module):
    """Logits N x 10 of pictures of one channel: the gradient is known without differentiation."""

    def __init__(self, seed=0, side=8):
        super().__init__()
        weights = np.random.default_rng(seed).normal(size=(10, side * side))
        # So that no class wins by brightness.
        self.weights = nn.Parameter(torch.tensor(weights - weights.mean(axis=1, keepdims=True), dtype=torch.float32))

    def forward(self, x):
        return x.flatten(1) @ self.weights.T

    def gradient(self, x, classes):
        """Of the cross-entropy of these classes, N x 1 x side x side."""
        pull = self(x).softmax(dim=1) - torch.eye(10)[classes]
        return (pull @ self.weights).reshape(x.shape).detach()


def same_state(one, other):
    """Whether all weights and statistics are the same bits."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_seconds(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def metadata_of(path):
    with safe_open(path, framework="np") as file:
        return file.metadata()
