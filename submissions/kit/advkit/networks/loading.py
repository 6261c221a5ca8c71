"""Networks whose weights lie in a safetensors file: named as the network names them, and nothing else."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from advkit import weights
from advkit.config import pick
from advkit.errors import KitError
from advkit.networks.inception_resnet_v2 import InceptionResnetV2
from advkit.networks.inception_v3 import InceptionV3
from advkit.networks.inception_v4 import InceptionV4
from advkit.networks.layers import Inception, fold
from advkit.networks.small import SMALL, SmallNetwork
from advkit.weights.files import read_metadata

ARCHITECTURES: Mapping[str, type[Inception]] = {
    "inception_v3": InceptionV3,
    "inception_v4": InceptionV4,
    "inception_resnet_v2": InceptionResnetV2,
}

COUNTER = ".num_batches_tracked"

Shapes = Mapping[str, tuple[int, ...]]


def load_published(architecture: str, name: str) -> Inception:
    """The network of the stored weights `name`, in evaluation mode, batch norms merged into convolutions.

    Raises KitError where there is no such file, and as `load_weights` does.
    """
    return load_weights(architecture, weights.find(name))


def load_weights(architecture: str, path: Path) -> Inception:
    """The network of a safetensors file that holds its state dict, with 1000 or 1001 classes.

    Raises KitError for a file that cannot be read, and for names or shapes other than those of the network.
    """
    state = _read(path)
    network = empty_network(architecture, any(value.shape[:1] == (1001,) for value in state.values()))
    if faults := differences(shapes(network.state_dict()), shapes(state)):
        raise KitError(f"{path}: not the weights of {architecture}: {faults}; make it anew with harness weights")
    network.load_state_dict(state, assign=True)
    fold(network.eval(), {"conv": "bn"})
    return network


def load_trained(path: Path) -> SmallNetwork:
    """The network of SMALL that the metadata of a safetensors file name as `architecture`, likewise.

    Raises KitError for a file that cannot be read or names none, and for other names or shapes than the network's.
    """
    state, architecture = _read(path), read_metadata(path).get("architecture", "")
    with torch.device("meta"):
        network = pick(SMALL, architecture, f"{path}: architecture")()
    if faults := differences(shapes(network.state_dict()), shapes(state)):
        raise KitError(f"{path}: not the weights of {architecture}: {faults}; train it anew")
    network.load_state_dict(state, assign=True)
    fold(network.eval(), {"conv": "bn"})
    return network


def empty_network(architecture: str, has_background: bool = True) -> Inception:
    """The network with 1001 or 1000 classes on the device `meta`: names and shapes, no numbers."""
    with torch.device("meta"):
        return pick(ARCHITECTURES, architecture, "architecture")(1001 if has_background else 1000)


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name -> shape; without the counters of batch norms, which no output depends on and not every file has."""
    return {name: tuple(value.shape) for name, value in state.items() if not name.endswith(COUNTER)}


def differences(expected: Shapes, found: Shapes) -> str:
    """What is missing, not expected or of another shape, in words; empty where the two are equal."""
    wrong = [
        f"{name} ({_times(found[name])} instead of {_times(shape)})"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    faults = {"missing": expected.keys() - found, "unexpected": found.keys() - expected, "wrong shape": wrong}
    return "; ".join(f"{what}: {_some(sorted(names))}" for what, names in faults.items() if names)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise KitError(f"{path}: cannot be read as safetensors: {' '.join(str(error).split())}") from error
    return {name: value.float() for name, value in state.items() if not name.endswith(COUNTER)}


def _some(names: list[str], limit: int = 3) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _times(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
