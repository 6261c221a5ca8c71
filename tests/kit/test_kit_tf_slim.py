"""TF-slim's variables become our networks: the logits of TF-slim's own graphs, and anything else is refused.

The published adversarially trained models exist as TF-slim checkpoints; a layer that is mixed up with another of the
same shape would cost accuracy without a word. `tests/oracles` made the expected logits, through a checkpoint on disk.
"""

import re

import numpy as np
import pytest
import torch
from oracles.fixtures import difference, load
from oracles.random_weights import pictures, random_array
from safetensors.torch import save_file
from weights_files import port_layers

from advkit.errors import KitError
from advkit.networks import load_network
from advkit.networks.loading import ARCHITECTURES, empty_network
from advkit.weights.tf_slim import convert, convert_port


def random_variables(architecture):
    return {name: random_array(name, shape) for name, shape in load(f"tf_slim_{architecture}")[0].items()}


def logits_of(architecture, variables, folder):
    """By the way of a stored file, as a submission has them."""
    save_file(convert(architecture, variables), folder / f"{architecture}.safetensors")
    network = load_network(architecture).cpu()  # a GPU rounds convolutions more coarsely
    with torch.inference_mode():
        return network(torch.from_numpy(pictures(2)).permute(0, 3, 1, 2)).numpy()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def variables():
    return random_variables("inception_v3")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_the_graph_of_tf_slim(architecture, folder):
    _, expected = load(f"tf_slim_{architecture}")
    logits = logits_of(architecture, random_variables(architecture), folder)
    assert logits.shape == (2, 1000)
    assert difference(logits, expected[:, 1:]) < 1e-4


def test_two_layers_mixed_up_would_be_seen(variables, folder):
    _, expected = load("tf_slim_inception_v3")
    first, second = (f"InceptionV3/Mixed_7{block}/Branch_2/Conv2d_0d_3x1/BatchNorm/moving_mean" for block in "bc")
    mixed_up = variables | {first: variables[second], second: variables[first]}
    assert difference(logits_of("inception_v3", mixed_up, folder), expected[:, 1:]) > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_port_gives_the_same_weights(architecture):
    shapes = load(f"tf_slim_{architecture}")[0]
    variables = {
        name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + index
        for index, (name, shape) in enumerate(shapes.items())
    }
    expected = convert(architecture, variables)
    state = convert_port(architecture, port_layers(variables, prefix="Ens3Adv"))
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_every_parameter_is_there_and_writable(variables):
    state = convert("inception_v3", variables)
    expected = empty_network("inception_v3").state_dict()
    assert {name: value.shape for name, value in state.items()} == {name: v.shape for name, v in expected.items()}
    assert {value.dtype for name, value in state.items() if value.ndim} == {torch.float32}
    assert all(value.is_contiguous() for value in state.values())


def test_a_convolution_is_turned_from_hwio_to_oihw(variables):
    array = variables["InceptionV3/Mixed_6b/Branch_1/Conv2d_0b_1x7/weights"]
    weight = convert("inception_v3", variables)["Mixed_6b.branch7x7_2.conv.weight"]
    assert weight.shape == (128, 128, 1, 7)
    assert weight[5, 3, 0, 6] == array[0, 6, 3, 5]


def test_a_thousand_classes_stay_a_thousand(variables):
    heads = {name: array[..., 1:] for name, array in variables.items() if name.startswith("InceptionV3/Logits/")}
    assert convert("inception_v3", variables | heads)["fc.weight"].shape == (1000, 2048)


def test_gamma_is_one_unless_there_is_one(variables):
    assert (convert("inception_v3", variables)["Conv2d_1a_3x3.bn.weight"] == 1).all()
    gammas = {
        name.replace("beta", "gamma"): np.full_like(array, 2)
        for name, array in variables.items()
        if name.endswith("/beta")
    }
    assert (convert("inception_v3", variables | gammas)["Conv2d_1a_3x3.bn.weight"] == 2).all()
    del gammas["InceptionV3/Mixed_7c/Branch_3/Conv2d_0b_1x1/BatchNorm/gamma"]
    with pytest.raises(KitError, match="missing: InceptionV3/Mixed_7c/Branch_3/Conv2d_0b_1x1/BatchNorm/gamma"):
        convert("inception_v3", variables | gammas)


def test_what_training_leaves_behind_is_dropped(variables):
    weights = "InceptionV3/Conv2d_1a_3x3/weights"
    training = {
        "global_step": np.array(7),
        f"{weights}/ExponentialMovingAverage": variables[weights],
        f"{weights}/RMSProp": variables[weights],
        f"{weights}/RMSProp_1": variables[weights],
        "InceptionV3/Logits/Conv2d_1c_1x1/biases/Momentum": np.zeros(1001, np.float32),
        "InceptionV3/AuxLogits/Conv2d_2b_1x1/biases/RMSProp": np.zeros(1001, np.float32),
    }
    bare = {name: array for name, array in variables.items() if "/AuxLogits/" not in name}
    expected, state = convert("inception_v3", bare), convert("inception_v3", variables | training)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


BIAS = "InceptionV3/Logits/Conv2d_1c_1x1/biases"
STEM = "InceptionV3/Conv2d_1a_3x3/weights"


def without(variables, part):
    return {name: array for name, array in variables.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: without(v, BIAS), f"missing: {BIAS};"),
        (lambda v: without(v, "Mixed_6e"), "missing: InceptionV3/Mixed_6e/Branch_0/Conv2d_0a_1x1/BatchNorm/beta, "),
        (lambda v: v | {"InceptionV3/Mixed_8a/weights": v[STEM]}, "unexpected: InceptionV3/Mixed_8a/weights;"),
        (lambda v: v | {STEM: v[STEM].transpose(3, 2, 0, 1)}, f"{STEM} (32x3x3x3 instead of 3x3x3x32)"),
        (lambda v: v | {BIAS: v[BIAS][:-2]}, f"wrong shape: {BIAS} (999 instead of 1001)"),
        (lambda v: v | {STEM: v[STEM].astype(str)}, f"not of floats: {STEM};"),
        (lambda v: v | {STEM: v[STEM].astype(np.int64)}, f"not of floats: {STEM};"),
        (
            lambda v: {name.replace("InceptionV3", "Inception"): a for name, a in v.items()},
            "and 375 more; unexpected: ",
        ),
        (lambda v: {}, "and 375 more;"),
    ],
    ids=["a bias", "a block", "a stranger", "layout", "classes", "text", "integers", "scope", "nothing"],
)
def test_other_variables_are_refused_in_one_line(change, message, variables):
    with pytest.raises(KitError) as error:
        convert("inception_v3", change(variables))
    assert str(error.value).startswith("not the variables of inception_v3: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("InceptionV3", {"weights": np.zeros(2, np.float32)}, "unexpected: "),
        ("InceptionV3/InceptionV3/Conv2d_9z_3x3/Conv2D", {"weights": np.zeros(2, np.float32)}, "Conv2d_9z_3x3/weights"),
        (
            "InceptionV3/InceptionV3/Conv2d_1a_3x3/Conv2D",
            {"bias": np.zeros(32, np.float32)},
            "missing: InceptionV3/Con",
        ),
        (
            "InceptionV3/InceptionV3/Conv2d_1a_3x3/Relu",
            {"weights": np.zeros(2, np.float32)},
            "Conv2d_1a_3x3/Relu/weights",
        ),
        ("OtherV3/OtherV3/Conv2d_1a_3x3/Conv2D", {"weights": np.zeros(2, np.float32)}, "unexpected: OtherV3/Conv2d_1a"),
    ],
    ids=["a bare name", "a layer", "an array", "an operation", "a scope"],
)
def test_other_entries_of_a_port_are_refused(name, arrays, message, variables):
    layers = port_layers(variables) | {name: arrays}
    with pytest.raises(KitError, match=re.escape(message)):
        convert_port("inception_v3", layers)


@pytest.mark.parametrize("function", [convert, convert_port])
def test_an_unknown_architecture_is_named(function, variables):
    with pytest.raises(KitError, match="architecture 'inception_v2' is unknown: did you mean inception_v"):
        function("inception_v2", {})


def test_variables_of_another_architecture_are_refused(variables):
    with pytest.raises(KitError, match=r"not the variables of inception_v4: missing: .* more; unexpected: .* more"):
        convert("inception_v4", variables)
