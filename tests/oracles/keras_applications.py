"""Logits of keras.applications' Inceptions with random weights, for the normal tests.

Inception v3 and Inception ResNet v2 with 1000 classes; Keras has no Inception v4. Layers are paired by the
order in which Keras makes them, the mixtures of the residual blocks by their names. Keras has no gamma.
"""

import re

import keras
import numpy as np
from fixtures import load, save
from random_weights import pictures, random_array

CASES = {
    "inception_v3": keras.applications.InceptionV3,
    "inception_resnet_v2": keras.applications.InceptionResNetV2,
}


def main():
    for architecture, application in CASES.items():
        model = application(weights=None, classifier_activation=None)
        shapes = load(f"timm_{architecture}")[0]
        for name, layers in pair(list(shapes), model):
            transplant(name, shapes, layers)
        save(f"keras_{architecture}", shapes, np.asarray(model(pictures(2) * 2 - 1, training=False)))


def pair(names, model):
    """(our layer, its layers in Keras): a convolution with its batch norm, or what has a bias alone."""
    ours = [name.removesuffix(".conv.weight") for name in names if name.endswith(".conv.weight")]
    made = sorted((layer for layer in model.layers if not is_mixture(layer.name)), key=number)
    convolutions = [layer for layer in made if isinstance(layer, keras.layers.Conv2D)]
    norms = [layer for layer in made if isinstance(layer, keras.layers.BatchNormalization)]
    yield from zip(ours, zip(convolutions, norms, strict=True), strict=True)
    biased = [name.removesuffix(".weight") for name in names if re.search(r"\.conv2d\.weight$", name)]
    blocks = [f"block{size}_{n}_conv" for size, count in ((35, 10), (17, 20), (8, 10)) for n in range(1, count + 1)]
    if biased:
        yield from zip(biased, ([model.get_layer(block)] for block in blocks), strict=True)
    yield names[-1].removesuffix(".bias"), [model.get_layer("predictions")]


def is_mixture(name):
    return re.fullmatch(r"block\d+_\d+_conv", name) is not None


def number(layer):
    """How many of its kind were made before; `conv_7b` of Inception ResNet v2 is the last."""
    if layer.name.startswith("conv_7b"):
        return 10**6
    return int(re.search(r"(\d*)$", layer.name.removeprefix("conv2d"))[1] or 0)


def transplant(name, shapes, layers):
    if len(layers) == 1:
        weight = random_array(f"{name}.weight", shapes[f"{name}.weight"])
        bias = random_array(f"{name}.bias", shapes[f"{name}.bias"])
        layers[0].set_weights([weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T, bias])
        return
    kernel = random_array(f"{name}.conv.weight", shapes[f"{name}.conv.weight"])
    layers[0].set_weights([kernel.transpose(2, 3, 1, 0)])
    norm = [f"{name}.bn.{leaf}" for leaf in ("bias", "running_mean", "running_var")]
    layers[1].set_weights([random_array(leaf, shapes[leaf]) for leaf in norm])


if __name__ == "__main__":
    main()
