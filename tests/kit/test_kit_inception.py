"""The Inceptions are the published ones: timm's names, Keras's logits; a file of weights is loaded whole or refused.

A wrong padding, scale or order of branches does not fail, it costs accuracy without a word. `tests/oracles` made
the expected names and logits; TF-slim's own graphs are the matter of `test_kit_tf_slim.py`.
"""

import pytest
import torch
from oracles.fixtures import difference, load
from oracles.random_weights import pictures, random_array
from safetensors.torch import save_file

from advkit.errors import KitError
from advkit.networks import load_network, resize
from advkit.networks.inception_v3 import InceptionV3
from advkit.networks.layers import Inception, average_pool
from advkit.networks.loading import ARCHITECTURES, empty_network, load_weights, shapes


def random_state(architecture, has_background=False):
    """The state dict as the oracles make it: Keras has no gamma, so that of every batch norm is one."""
    named = shapes(empty_network(architecture, has_background).state_dict())
    return {
        name: torch.ones(shape) if name.endswith(".bn.weight") else torch.from_numpy(random_array(name, shape))
        for name, shape in named.items()
    }


def bare_network(architecture, state):
    network = empty_network(architecture, has_background=list(state.values())[-1].numel() == 1001)
    network.load_state_dict(state, assign=True)
    return network.eval()


@pytest.fixture(scope="module")
def x():
    return torch.from_numpy(pictures(2)).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def state():
    return random_state("inception_v3", has_background=True)


@pytest.fixture(scope="module")
def stored(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "ens3_adv_inception_v3.safetensors"
    save_file(state, path)
    return path


@pytest.fixture
def loaded(stored, monkeypatch):
    monkeypatch.setenv("HARNESS_WEIGHTS", str(stored.parent))
    return load_network("ens3_adv_inception_v3").cpu()  # a GPU rounds convolutions more coarsely


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_and_shapes_are_those_of_timm(architecture):
    expected, _ = load(f"timm_{architecture}")
    assert shapes(empty_network(architecture, has_background=False).state_dict()) == expected


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["inception_v3", "inception_resnet_v2"])
def test_logits_are_those_of_keras(architecture, x):
    _, expected = load(f"keras_{architecture}")
    with torch.inference_mode():
        logits = bare_network(architecture, random_state(architecture))(x)
    assert difference(logits.numpy(), expected) < 1e-4


def test_a_loaded_network_is_the_same_function(x, state, loaded):
    with torch.inference_mode():
        expected = bare_network("inception_v3", state)(x)
        logits = loaded(x)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in loaded.modules())
    assert loaded.Conv2d_2a_3x3.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert difference(logits.numpy(), expected.numpy()) < 1e-5


def test_the_background_is_no_answer(x, state):
    network = bare_network("inception_v3", state)
    without = {name: value[1:] if name.startswith("fc.") else value for name, value in state.items()}
    with torch.inference_mode():
        logits = network(x)
        expected = bare_network("inception_v3", without)(x)
    assert logits.shape == (2, 1000)
    assert torch.allclose(logits, expected, atol=1e-5)


def test_images_of_another_size_are_resized(x, state):
    network = bare_network("inception_v3", state)
    small = x[:1, :, :224, :200].contiguous()
    with torch.inference_mode():
        assert torch.equal(network(small), network(resize(small, 299)))


def test_gradients_of_a_loaded_network_reach_the_image_alone(x, loaded):
    image = x[:1].clone().requires_grad_()
    loaded(image).logsumexp(dim=1).sum().backward()
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in loaded.parameters())


def test_a_bare_network_can_be_trained(x):
    torch.manual_seed(0)
    network = InceptionV3(classes=10).train()
    before = network.Conv2d_1a_3x3.bn.running_mean.clone()
    torch.nn.functional.cross_entropy(network(x), torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not torch.equal(network.Conv2d_1a_3x3.bn.running_mean, before)
    assert network.train().dropout.p == 0.2


def test_averages_leave_out_the_padding():
    assert torch.equal(average_pool()(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))


def test_weights_of_half_precision_are_made_full(x, state, tmp_path):
    save_file({name: value.half() for name, value in state.items()}, tmp_path / "half.safetensors")
    network = load_weights("inception_v3", tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, "fc.bias"), "missing: fc.bias"),
        (lambda state: without(state, "Mixed_5b.branch1x1.bn.running_var"), "missing: Mixed_5b.branch1x1.bn.running"),
        (lambda state: state | {"AuxLogits.fc.bias": torch.zeros(1000)}, "unexpected: AuxLogits.fc.bias"),
        (lambda state: state | {"fc.bias": torch.zeros(10)}, "wrong shape: fc.bias (10 instead of 1001)"),
        (lambda state: state | {"Conv2d_1a_3x3.conv.weight": torch.zeros(3, 3, 3, 32)}, "3x3x3x32 instead of 32x3x3x3"),
        (lambda state: {f"module.{name}": value for name, value in state.items()}, "and 469 more; unexpected: module."),
    ],
    ids=["no head", "no buffer", "auxiliary head", "ten classes", "TensorFlow's layout", "renamed"],
)
def test_other_names_or_shapes_are_refused_in_one_line(change, message, state, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(change(state), path)
    with pytest.raises(KitError) as error:
        load_weights("inception_v3", path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: not the weights of inception_v3: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("keep", [0, 4, 1000, 90_000_000])
def test_a_file_cut_short_is_refused_in_one_line(keep, stored, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(stored.read_bytes()[:keep])
    with pytest.raises(KitError, match=r"cannot be read as safetensors: [^\n]*$"):
        load_weights("inception_v3", path)


def test_weights_of_another_architecture_are_refused(stored):
    with pytest.raises(KitError, match=r"not the weights of inception_v4: missing: .* more; unexpected: .* more"):
        load_weights("inception_v4", stored)


def test_an_unknown_architecture_is_named_with_a_suggestion():
    with pytest.raises(KitError, match="architecture 'inception_v5' is unknown: did you mean inception_v"):
        empty_network("inception_v5")


def test_a_network_of_ten_classes_answers_ten():
    network = Inception({"features": torch.nn.Conv2d(3, 4, 3)}, "fc", 4, classes=10).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 20, 20)).shape == (2, 10)


def test_the_pictures_of_the_fixtures_differ(x):
    assert (x[0] - x[1]).abs().mean() > 0.1
