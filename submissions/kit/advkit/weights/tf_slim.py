"""Variables of TF-slim's Inceptions, and of their PyTorch ports, as state dicts of `advkit.networks`.

Names are those of TF-slim's graphs (github.com/tensorflow/models, research/slim/nets), as in the checkpoints
at download.tensorflow.org/models. The tables list TF-slim's layers in the order of the network's own.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from advkit.config import pick
from advkit.errors import KitError
from advkit.networks.loading import differences, empty_network

Array = npt.NDArray[np.generic]

SCOPES = {"inception_v3": "InceptionV3", "inception_v4": "InceptionV4", "inception_resnet_v2": "InceptionResnetV2"}


def _block(scope: str, branches: str, mixed: str = "") -> Iterator[str]:
    """Layers of a block. Branches stand between bars, their layers without `Conv2d_`; one may have only a pool."""
    for index, branch in enumerate(branches.split("|")):
        for layer in branch.split():
            yield f"{scope}/Branch_{index}/{layer if layer.startswith('Conv') else f'Conv2d_{layer}'}"
    if mixed:
        yield f"{scope}/{mixed}"


def _inception_v3() -> Iterator[str]:
    block_a = "0a_1x1 | 0a_1x1 0b_5x5 | 0a_1x1 0b_3x3 0c_3x3 | 0b_1x1"
    block_b = "0a_1x1 | 0a_1x1 0b_1x7 0c_7x1 | 0a_1x1 0b_7x1 0c_1x7 0d_7x1 0e_1x7 | 0b_1x1"
    yield from ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    yield from _block("Mixed_5b", block_a)
    yield from _block("Mixed_5c", "0a_1x1 | 0b_1x1 Conv_1_0c_5x5 | 0a_1x1 0b_3x3 0c_3x3 | 0b_1x1")
    yield from _block("Mixed_5d", block_a)
    yield from _block("Mixed_6a", "1a_1x1 | 0a_1x1 0b_3x3 1a_1x1")  # of which the two 1a are 3 x 3
    for letter in "bcde":
        yield from _block(f"Mixed_6{letter}", block_b)
    yield from _block("Mixed_7a", "0a_1x1 1a_3x3 | 0a_1x1 0b_1x7 0c_7x1 1a_3x3")
    yield from _block("Mixed_7b", "0a_1x1 | 0a_1x1 0b_1x3 0b_3x1 | 0a_1x1 0b_3x3 0c_1x3 0d_3x1 | 0b_1x1")
    yield from _block("Mixed_7c", "0a_1x1 | 0a_1x1 0b_1x3 0c_3x1 | 0a_1x1 0b_3x3 0c_1x3 0d_3x1 | 0b_1x1")
    yield "Logits/Conv2d_1c_1x1"


def _inception_v4() -> Iterator[str]:
    block_a = "0a_1x1 | 0a_1x1 0b_3x3 | 0a_1x1 0b_3x3 0c_3x3 | 0b_1x1"
    block_b = "0a_1x1 | 0a_1x1 0b_1x7 0c_7x1 | 0a_1x1 0b_7x1 0c_1x7 0d_7x1 0e_1x7 | 0b_1x1"
    block_c = "0a_1x1 | 0a_1x1 0b_1x3 0c_3x1 | 0a_1x1 0b_3x1 0c_1x3 0d_1x3 0e_3x1 | 0b_1x1"
    yield from ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3")
    yield from _block("Mixed_3a", "| 0a_3x3")
    yield from _block("Mixed_4a", "0a_1x1 1a_3x3 | 0a_1x1 0b_1x7 0c_7x1 1a_3x3")
    yield from _block("Mixed_5a", "1a_3x3")
    for letter in "bcde":
        yield from _block(f"Mixed_5{letter}", block_a)
    yield from _block("Mixed_6a", "1a_3x3 | 0a_1x1 0b_3x3 1a_3x3")
    for letter in "bcdefgh":
        yield from _block(f"Mixed_6{letter}", block_b)
    yield from _block("Mixed_7a", "0a_1x1 1a_3x3 | 0a_1x1 0b_1x7 0c_7x1 1a_3x3")
    for letter in "bcd":
        yield from _block(f"Mixed_7{letter}", block_c)
    yield "Logits/Logits"


def _inception_resnet_v2() -> Iterator[str]:
    block_8 = "1x1 | 0a_1x1 0b_1x3 0c_3x1"
    yield from ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    yield from _block("Mixed_5b", "1x1 | 0a_1x1 0b_5x5 | 0a_1x1 0b_3x3 0c_3x3 | 0b_1x1")
    for number in range(1, 11):
        yield from _block(f"Repeat/block35_{number}", "1x1 | 0a_1x1 0b_3x3 | 0a_1x1 0b_3x3 0c_3x3", "Conv2d_1x1")
    yield from _block("Mixed_6a", "1a_3x3 | 0a_1x1 0b_3x3 1a_3x3")
    for number in range(1, 21):
        yield from _block(f"Repeat_1/block17_{number}", "1x1 | 0a_1x1 0b_1x7 0c_7x1", "Conv2d_1x1")
    yield from _block("Mixed_7a", "0a_1x1 1a_3x3 | 0a_1x1 1a_3x3 | 0a_1x1 0b_3x3 1a_3x3")
    for number in range(1, 10):
        yield from _block(f"Repeat_2/block8_{number}", block_8, "Conv2d_1x1")
    yield from _block("Block8", block_8, "Conv2d_1x1")
    yield from ("Conv2d_7b_1x1", "Logits/Logits")


LAYERS: Mapping[str, Sequence[str]] = {
    "inception_v3": tuple(_inception_v3()),
    "inception_v4": tuple(_inception_v4()),
    "inception_resnet_v2": tuple(_inception_resnet_v2()),
}

# Variable of a layer -> parameter or buffer of a ConvNorm, or of a convolution or linear layer with a bias.
NORMED = {
    "weights": "conv.weight",
    "BatchNorm/beta": "bn.bias",
    "BatchNorm/gamma": "bn.weight",
    "BatchNorm/moving_mean": "bn.running_mean",
    "BatchNorm/moving_variance": "bn.running_var",
}
BIASED = {"weights": "weight", "biases": "bias"}

# Operation of a port's entry -> its arrays -> variable of the layer.
PORTS = {
    "Conv2D": {"weights": "weights", "bias": "biases"},
    "MatMul": {"weights": "weights", "bias": "biases"},
    "FusedBatchNorm": {"bias": "beta", "scale": "gamma", "mean": "moving_mean", "var": "moving_variance"},
}

COUNTERS = ("global_step", "beta1_power", "beta2_power")


def convert(architecture: str, variables: Mapping[str, Array]) -> dict[str, Tensor]:
    """TF-slim's variables (name -> array of floats, convolutions HWIO) as the network's state dict, float32.

    The classes are as many as in `variables`, 1001 or 1000. Batch norms without gamma, which is how TF-slim
    trains Inceptions, get ones. Auxiliary heads, counters and what an optimizer keeps for a variable are left
    out. Raises KitError that names variables that are missing, not expected, of another shape, or no floats.
    """
    state = empty_network(architecture, has_background=_classes(architecture, variables) != 1000).state_dict()
    ours = _our_names(architecture, state, has_gamma=any(name.endswith("/gamma") for name in variables))
    kept = {name: array for name, array in variables.items() if not _is_of_training(architecture, name, ours)}
    _check(architecture, {name: _tf_shape(name, state[ours[name]]) for name in ours}, kept)
    filled = {ours[name]: _to_torch(array, state[ours[name]]) for name, array in kept.items()}
    return {name: filled[name] if name in filled else _default(name, value) for name, value in state.items()}


def convert_port(architecture: str, layers: Mapping[str, Mapping[str, Array]]) -> dict[str, Tensor]:
    """The entries of a PyTorch port (github.com/ylhz/tf_to_pytorch_model) as the network's state dict, float32.

    An entry is named SCOPE/SCOPE/LAYER/OPERATION (without the second SCOPE in the heads), SCOPE being TF-slim's
    with a prefix such as `Ens3Adv`, and holds arrays in PyTorch's layout. Raises KitError as `convert` does.
    """
    pick(SCOPES, architecture, "architecture")
    variables: dict[str, Array] = {}
    for name, arrays in layers.items():
        variables |= _port_variables(SCOPES[architecture], name, arrays)
    return convert(architecture, variables)


def _our_names(architecture: str, state: Mapping[str, Tensor], has_gamma: bool) -> dict[str, str]:
    """TF-slim's variable -> our parameter or buffer."""
    names = {}
    weights = [name for name, value in state.items() if value.ndim > 1]
    for weight, layer in zip(weights, LAYERS[architecture], strict=True):
        last, leaves = ("conv.weight", NORMED) if weight.endswith(".conv.weight") else ("weight", BIASED)
        for variable, parameter in leaves.items():
            if has_gamma or variable != "BatchNorm/gamma":
                names[f"{SCOPES[architecture]}/{layer}/{variable}"] = weight.removesuffix(last) + parameter
    return names


def _is_of_training(architecture: str, name: str, ours: Mapping[str, str]) -> bool:
    return (
        name in COUNTERS
        or name.startswith(f"{SCOPES[architecture]}/AuxLogits/")
        or name.rpartition("/")[0] in ours  # as in .../weights/RMSProp
    )


def _check(architecture: str, expected: Mapping[str, tuple[int, ...]], variables: Mapping[str, Array]) -> None:
    faults = differences(expected, {name: array.shape for name, array in variables.items()})
    if not faults and (others := sorted(name for name, array in variables.items() if array.dtype.kind != "f")):
        faults = f"not of floats: {others[0]}"
    if faults:
        raise KitError(f"not the variables of {architecture}: {faults}; name the architecture that they are of")


def _tf_shape(name: str, value: Tensor) -> tuple[int, ...]:
    """Shape in TensorFlow of our `value`; the head of Inception v3 is a convolution there."""
    shape = tuple(value.shape)
    if len(shape) == 4:
        return (*shape[2:], shape[1], shape[0])
    return (1, 1, *shape[::-1]) if "/Conv2d_1c_1x1/weights" in name else shape[::-1]


def _to_torch(array: Array, value: Tensor) -> Tensor:
    ordered = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return torch.from_numpy(np.array(ordered, dtype=np.float32, order="C")).reshape(value.shape)


def _default(name: str, value: Tensor) -> Tensor:
    """Ones for a gamma, zero for the counter of a batch norm."""
    return (torch.ones if name.endswith(".bn.weight") else torch.zeros)(value.shape, dtype=value.dtype)


def _classes(architecture: str, variables: Mapping[str, Array]) -> int:
    head = f"{pick(SCOPES, architecture, 'architecture')}/{LAYERS[architecture][-1]}/biases"
    return variables[head].size if head in variables else 0


def _port_variables(scope: str, name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    parent, _, operation = name.rpartition("/")
    first, *path = parent.split("/")
    layer = "/".join([scope if first.endswith(scope) else first, *(path[1:] if path[:1] == [first] else path)])
    leaves = PORTS.get(operation, {})
    if operation == "FusedBatchNorm" and "bias" in arrays:
        arrays = {"scale": np.ones_like(arrays["bias"]), **arrays}
    return {
        f"{layer}/{leaves.get(leaf, f'{operation}/{leaf}')}": _to_tensorflow(array) for leaf, array in arrays.items()
    }


def _to_tensorflow(array: Array) -> Array:
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
