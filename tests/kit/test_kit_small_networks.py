"""The small networks are those of the paper where they bear its names, take pictures of any size and of one or three
channels, and come back from a file as the same function, or not at all."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_files import fault

from advkit.labels import CIFAR10, DIGITS, IMAGENET
from advkit.networks import Ensemble, common_labels
from advkit.networks.loading import load_trained
from advkit.networks.small import SMALL, SmallNetwork
from advkit.weights.stored import serialise, without_counters

COLOUR = [name for name in SMALL if name.startswith("colour_")]
GREY = [name for name in SMALL if name not in COLOUR]
INCEPTIONS = [name for name in SMALL if name.endswith("_inception")]
LARGEST_FILE = 5_000_000


def small(name, seed=0):
    torch.manual_seed(seed)
    return SMALL[name]().eval()


def pictures(number=2, channels=3, size=(28, 28), seed=0):
    return torch.rand(number, channels, *size, generator=torch.Generator().manual_seed(seed))


def logits_of(network, x):
    with torch.no_grad():
        return network(x)


def close(one, other):
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_there_are_networks_of_both_kinds():
    names = {f"model_{name}" for name in "abcd"} | {f"grey_{name}" for name in ("inception", "resnet", "vgg")}
    assert {*GREY} == names
    assert {*COLOUR} == {f"colour_{name}" for name in ("inception", "resnet", "vgg", "nin", "densenet")}


# --- models A to D of the paper

RELU = "ReLU"
DENSE_TAIL = [RELU, "Dropout 0.25", "Flatten", "Linear 128", RELU, "Dropout 0.5", "Linear 10"]
HIDDEN = ["Linear 300", RELU, "Dropout 0.5"]
# Tramer et al., arXiv:1705.07204, appendix A. Convolutions: filters, side, stride, padding.
LAYERS = {
    "model_a": ["Conv2d 64 5 1 0", RELU, "Conv2d 64 5 1 0", *DENSE_TAIL],
    "model_b": [
        *["Dropout 0.2", "Conv2d 64 8 2 3", RELU, "Conv2d 128 6 2 0", RELU, "Conv2d 128 5 1 0", RELU],
        *["Dropout 0.5", "Flatten", "Linear 10"],
    ],
    "model_c": ["Conv2d 128 3 1 0", RELU, "Conv2d 64 3 1 0", *DENSE_TAIL],
    "model_d": ["Flatten", *HIDDEN * 4, "Linear 10"],
}
# Weights and biases of each layer, by hand. A: 28 pixels become 24 and 20. B: 14 (same padding), 5, 1. C: 26, 24.
PARAMETERS = {
    "model_a": [25 * 64 + 64, 25 * 64 * 64 + 64, 20 * 20 * 64 * 128 + 128, 128 * 10 + 10],
    "model_b": [64 * 64 + 64, 36 * 64 * 128 + 128, 25 * 128 * 128 + 128, 128 * 10 + 10],
    "model_c": [9 * 128 + 128, 9 * 128 * 64 + 64, 24 * 24 * 64 * 128 + 128, 128 * 10 + 10],
    "model_d": [28 * 28 * 300 + 300, *[300 * 300 + 300] * 3, 300 * 10 + 10],
}


def in_words(layer):
    if isinstance(layer, nn.Conv2d):
        (side, _), (stride, _), (padding, _) = layer.kernel_size, layer.stride, layer.padding
        return f"Conv2d {layer.out_channels} {side} {stride} {padding}"
    value = {nn.Linear: "out_features", nn.Dropout: "p"}.get(type(layer))
    return f"{type(layer).__name__} {getattr(layer, value)}" if value else type(layer).__name__


@pytest.mark.parametrize("name", LAYERS)
def test_models_of_the_paper_have_its_layers(name):
    body = small(name).body
    assert [in_words(layer) for layer in body] == LAYERS[name]
    sizes = [sum(parameter.numel() for parameter in layer.parameters()) for layer in body]
    assert [size for size in sizes if size] == PARAMETERS[name]


@pytest.mark.parametrize("name", INCEPTIONS)
def test_an_inception_has_no_dense_tail_and_a_small_file(name):
    network = small(name)
    *_, pooling, flatten, last = network.body
    assert sum(isinstance(module, nn.Linear) for module in network.modules()) == 1
    assert (pooling.output_size, type(flatten), last.out_features) == (1, nn.Flatten, 10)
    assert last.in_features < 1000
    assert len(serialise(without_counters(network.state_dict()), {})) < LARGEST_FILE


def test_branches_of_an_inception_module_see_1_3_and_5_pixels():
    """With weights of one: what a branch sees is what a pixel reaches."""
    module = next(layer for layer in small("grey_inception").body if type(layer).__name__ == "InceptionModule").double()
    module.requires_grad_(False)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.fill_(1)
    width, channels = module.branch3x3.conv.out_channels, module.branches1x1.conv.in_channels
    x = torch.zeros(1, channels, 11, 11, dtype=torch.float64)
    x[0, 0, 5, 5] = 1
    reached = [int((branch[0, 0] > 0).sum()) for branch in module(x).split(width, dim=1)]
    assert reached == [1, 9, 25, 9]


# --- pictures of any kind


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(28, 28), (32, 32), (20, 37)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_size_get_ten_logits(name, size, channels):
    logits = logits_of(small(name), pictures(2, channels, size))
    assert (logits.shape, logits.dtype) == ((2, 10), torch.float32)
    assert logits.isfinite().all()
    assert not torch.allclose(logits[0], logits[1])


@pytest.mark.parametrize("name", SMALL)
def test_three_equal_channels_are_as_one(name):
    network, x = small(name), pictures(3, 1)
    assert close(logits_of(network, x.expand(-1, 3, -1, -1)), logits_of(network, x))


@pytest.mark.parametrize("name", SMALL)
def test_an_answer_does_not_depend_on_the_neighbours(name):
    network, x = small(name), pictures(4)
    assert close(torch.cat([logits_of(network, image[None]) for image in x]), logits_of(network, x))


def seen_by(name, x):
    """What the layers get."""
    network = small(name)
    network.body = nn.Identity()
    return network(x)


@pytest.mark.parametrize("name", GREY)
def test_a_network_for_digits_sees_the_grey_levels_as_they_are(name):
    x = pictures(2, 3)
    assert torch.equal(seen_by(name, x[:, :1]), x[:, :1])
    assert torch.allclose(seen_by(name, x), x.mean(dim=1, keepdim=True), atol=1e-6)
    assert seen_by(name, pictures(1, 3, (40, 30))).shape == (1, 1, 28, 28)


@pytest.mark.parametrize("name", COLOUR)
def test_a_network_for_cifar10_sees_each_channel_at_its_scale(name):
    x = pictures(2, 3, (32, 32))
    mean, deviation = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])
    expected = (x.numpy().transpose(0, 2, 3, 1) - mean) / deviation
    assert np.allclose(seen_by(name, x).numpy().transpose(0, 2, 3, 1), expected, atol=1e-5)
    assert seen_by(name, pictures(1, 3, (40, 30))).shape == (1, 3, 32, 32)


@pytest.mark.parametrize("name", ["grey_inception", "colour_resnet"])
def test_other_sizes_are_interpolated(name):
    x = pictures(2, 3, (40, 24))
    side = 28 if name in GREY else 32
    resized = F.interpolate(x, size=(side, side), mode="bicubic", align_corners=False)
    assert close(logits_of(small(name), x), logits_of(small(name), resized))


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_the_picture_and_not_the_weights(name):
    network, x = small(name).requires_grad_(False), pictures(2).requires_grad_()
    network(x).logsumexp(dim=1).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


# --- files


def write(path, state, **metadata):
    path.write_bytes(serialise(without_counters(state), metadata))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


def with_statistics(network):
    """Batch norms that have seen something."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 2),
                (module.running_var, 0.2, 3),
                (module.bias.data, -1, 1),
            ):
                tensor.uniform_(low, high, generator=generator)
            module.running_mean.normal_(0, 0.3, generator=generator)
    return network


@pytest.mark.parametrize("name", SMALL)
def test_a_network_comes_back_from_its_file(path, name):
    network, x = with_statistics(small(name)), pictures(4)
    loaded = load_trained(write(path, network.state_dict(), architecture=name))
    assert isinstance(loaded, SmallNetwork)
    assert not loaded.training
    assert loaded.labels == network.labels
    assert close(logits_of(loaded, x), logits_of(network, x))


def test_batch_norms_of_a_loaded_network_are_merged(path):
    loaded = load_trained(write(path, small("grey_inception").state_dict(), architecture="grey_inception"))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in loaded.modules())


def test_counters_and_half_precision_change_nothing_but_rounding(path):
    network = with_statistics(small("grey_vgg"))
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()
    }
    path.write_bytes(serialise(halves, {"architecture": "grey_vgg"}))
    x = pictures(4)
    expected = logits_of(network, x)
    assert (logits_of(load_trained(path), x) - expected).abs().max() < 0.02 * expected.abs().max()


VGG = small("grey_vgg").state_dict()
LAST = [name for name in VGG if name.endswith(".bias")][-1]


@pytest.mark.parametrize(
    ("state", "architecture", "message"),
    [
        pytest.param(VGG, "grey_resnet", "not the weights of grey_resnet: missing: ", id="another"),
        pytest.param(VGG, "colour_vgg", "wrong shape: body.0.bn.bias (16 instead of 32), ", id="another shape"),
        pytest.param({**VGG, LAST: torch.zeros(9)}, "grey_vgg", f"wrong shape: {LAST} (9 instead of 10)", id="classes"),
        pytest.param({**VGG, "more": torch.zeros(1)}, "grey_vgg", "unexpected: more", id="more"),
        pytest.param({k: v for k, v in VGG.items() if k != LAST}, "grey_vgg", f"missing: {LAST}", id="less"),
        pytest.param(VGG, "grey_vg", "architecture 'grey_vg' is unknown: did you mean grey_vgg?", id="unknown"),
        pytest.param(VGG, "inception_v3", "architecture 'inception_v3' is unknown: ", id="large"),
        pytest.param(VGG, "", "architecture '' is unknown: ", id="empty"),
        pytest.param(VGG, None, "architecture '' is unknown: ", id="no metadata"),
    ],
)
def test_a_file_of_other_weights_is_refused(path, state, architecture, message):
    metadata = {} if architecture is None else {"architecture": architecture}
    line = fault(load_trained, write(path, state, **metadata))
    assert line.startswith(f"{path}: ")
    assert message in line


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1], id="one byte less"),
        pytest.param(lambda data: data[:100], id="header cut"),
        pytest.param(lambda data: data[:4], id="length cut"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data + b"\0", id="one byte more"),
        pytest.param(lambda data: b"<html>" + data, id="page"),
    ],
)
def test_a_damaged_file_is_refused(path, damage):
    write(path, VGG, architecture="grey_vgg")
    path.write_bytes(damage(path.read_bytes()))
    assert fault(load_trained, path).startswith(f"{path}: cannot be read as safetensors: ")


def test_a_file_that_is_not_there(path):
    assert fault(load_trained, path).startswith(f"{path}: cannot be read as safetensors: ")


# --- label spaces


@pytest.mark.parametrize("name", SMALL)
def test_networks_answer_in_their_label_space(name):
    assert small(name).labels == (DIGITS if name in GREY else CIFAR10)


def test_networks_of_one_label_space_go_together():
    networks = [small("model_d"), small("grey_vgg")]
    assert common_labels(networks) == common_labels(networks[:1]) == DIGITS
    x = pictures(3)
    together = Ensemble(networks)
    assert together.labels == DIGITS
    assert close(logits_of(together, x), sum(logits_of(network, x) for network in networks) / 2)


@pytest.mark.parametrize("others", [["colour_vgg"], ["model_b", "colour_vgg"]])
def test_networks_of_different_label_spaces_are_refused(others):
    networks = [small("model_d"), *map(small, others)]
    for call in (common_labels, Ensemble):
        assert fault(call, networks) == "networks answer in the label spaces digits and cifar10; take those of one"


def test_ten_digits_are_no_classes_of_imagenet():
    class OfImageNet(nn.Module):
        labels = IMAGENET

    assert "imagenet-1001 and digits" in fault(common_labels, [OfImageNet(), small("model_d")])
