"""EfficientNet-Lite0 in Keras, as its PyTorch package computes it; weights from the file that convert.py writes.

Source: Tan and Le, arXiv:1905.11946; Lite means ReLU6 for swish and no squeeze-and-excitation. Batch norms are
merged into the convolutions. `same` padding is that of TensorFlow, with which these weights were trained.
"""

from pathlib import Path

import keras
import numpy as np
from keras import KerasTensor, layers
from numpy.typing import NDArray

SIDE = 224

# Blocks in a row, size of the kernel, stride of the first, expansion, channels.
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320)]  # fmt: skip


def load_network(weights: Path) -> keras.Model:
    """The network that maps images, N x SIDE x SIDE x 3 as `prepare` gives them, to logits N x 1000."""
    model = build()
    with np.load(weights) as arrays:
        for layer in model.layers:
            if layer.weights:
                layer.set_weights([arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"]])
    return model


def build() -> keras.Model:
    """The layers, named as in the PyTorch package."""
    image = keras.Input((SIDE, SIDE, 3))
    x = convolution(image, "conv_stem", 32, 3, stride=2)
    number = 0
    for repeats, kernel, stride, expansion, channels in STAGES:
        for repeat in range(repeats):
            x = block(x, f"blocks_{number}", kernel, 1 if repeat else stride, expansion, channels)
            number += 1
    x = convolution(x, "conv_head", 1280)
    return keras.Model(image, layers.Dense(1000, name="fc")(layers.GlobalAveragePooling2D()(x)))


def block(x: KerasTensor, name: str, kernel: int, stride: int, expansion: int, channels: int) -> KerasTensor:
    """An inverted bottleneck: wider, filtered in space, narrower, plus its input where the shape is the same."""
    wide = x if expansion == 1 else convolution(x, f"{name}_expand_conv", expansion * x.shape[-1])
    depthwise = layers.DepthwiseConv2D(kernel, stride, padding="same", name=f"{name}_depthwise_conv")
    narrow = layers.Conv2D(channels, 1, name=f"{name}_project_conv")(layers.ReLU(6)(depthwise(wide)))
    return layers.Add()([narrow, x]) if narrow.shape == x.shape else narrow


def convolution(x: KerasTensor, name: str, channels: int, kernel: int = 1, stride: int = 1) -> KerasTensor:
    """A convolution and its ReLU6."""
    return layers.ReLU(6)(layers.Conv2D(channels, kernel, stride, padding="same", name=name)(x))


def prepare(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 N x height x width x 3 resized to SIDE x SIDE and brought to (level - 127) / 128."""
    height, width = (bicubic(length) for length in pixels.shape[1:3])
    levels = np.einsum("ah,nhwc,bw->nabc", height, pixels.astype(np.float32), width, optimize=True)
    return (levels - 127) / 128


def bicubic(length: int) -> NDArray[np.float32]:
    """The matrix SIDE x length of Keys's interpolation with a = -0.75, as in PyTorch; TensorFlow's has -0.5."""
    place = (np.arange(SIDE) + 0.5) * length / SIDE - 0.5
    matrix = np.zeros((SIDE, length), dtype=np.float32)
    for offset in range(-1, 3):
        source = np.floor(place).astype(int) + offset
        weight = keys(np.abs(place - source))
        np.add.at(matrix, (np.arange(SIDE), source.clip(0, length - 1)), weight)
    return matrix


def keys(distance: NDArray[np.float64], a: float = -0.75) -> NDArray[np.float64]:
    """Weight of a pixel at a distance up to 2 (Keys, Cubic convolution interpolation, 1981)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)
