"""Random weights, batch-norm statistics and pictures that every machine makes alike: NumPy only.

`RandomState` is used because its streams are frozen for good. Scales are such that activations neither vanish
nor explode over a hundred layers.
"""

import hashlib
import math

import numpy as np

SEED = 20170818


def random_array(name, shape, seed=SEED):
    """float32 values of the variable or parameter `name`, TF-slim's or PyTorch's; they depend on nothing else."""
    state = np.random.RandomState(_seed(seed, name))
    lowest, highest = _range(name.replace("/", ".").rpartition(".")[2], shape)
    return (lowest + (highest - lowest) * state.random_sample(shape)).astype(np.float32)


def pictures(count, size=299, seed=SEED):
    """float32, count x size x size x 3, levels of 1/255 in 0..1: coarse squares, each picture its own, with noise."""
    state = np.random.RandomState(_seed(seed, "pictures"))
    nearest = np.arange(size) * 8 // size
    coarse = state.randint(0, 200, (count, 8, 8, 3))[:, nearest][:, :, nearest]
    return ((coarse + state.randint(0, 56, (count, size, size, 3))) / 255).astype(np.float32)


def _seed(seed, name):
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")


def _range(leaf, shape):
    if len(shape) > 1:  # the variance of an activation stays about the same (He et al., arXiv:1502.01852)
        inputs = math.prod(shape[1:] if leaf == "weight" else shape[:-1])
        return -math.sqrt(6 / inputs), math.sqrt(6 / inputs)
    if leaf in ("moving_variance", "running_var"):
        return 0.5, 1.5
    if leaf in ("gamma", "weight"):
        return 0.7, 1.3
    return -0.3, 0.3
