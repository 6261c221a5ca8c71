"""Our Inceptions against timm's: the same names and shapes, files that load both ways, the same logits."""

import sys
import tempfile
import types
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from fixtures import difference, save
from random_weights import pictures, random_array
from safetensors.torch import save_file

from advkit.networks.loading import empty_network, load_weights


class _Anything(type):
    """A class of which every attribute is another one; none is ever used, only named while timm is imported."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


class _Torchvision(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


class _Finder:
    """timm imports torchvision, whose builds need CUDA; none of the networks below uses it."""

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.partition(".")[0] == "torchvision" else None

    def create_module(self, spec):
        return _Torchvision(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.append(_Finder())

import timm  # noqa: E402

CASES = {
    "inception_v3": "inception_v3.tf_adv_in1k",
    "inception_v4": "inception_v4.tf_in1k",
    "inception_resnet_v2": "inception_resnet_v2.tf_ens_adv_in1k",
}


def main():
    x = torch.from_numpy(pictures(2)).permute(0, 3, 1, 2)
    for architecture, name in CASES.items():
        reference = timm.create_model(name, pretrained=False).eval()
        state = {key: random_value(key, value) for key, value in reference.state_dict().items()}
        reference.load_state_dict(state)
        ours = round_trip(architecture, state)
        check_names(architecture, reference, state)
        report(name, reference, ours, x)


def random_value(name, value):
    if value.ndim == 0:
        return value
    return torch.from_numpy(random_array(name, tuple(value.shape)))


def round_trip(architecture, state):
    """Our network from timm's file, by the code that loads the published ones."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file(state, path)
        return load_weights(architecture, path)


def check_names(architecture, reference, state):
    """Names, shapes and their order; timm takes our state dict, too."""
    ours = empty_network(architecture, has_background=False).state_dict()
    if [(k, v.shape) for k, v in ours.items()] != [(k, v.shape) for k, v in state.items()]:
        raise SystemExit(f"{architecture}: names or shapes differ from timm's")
    reference.load_state_dict(dict(zip(ours, state.values(), strict=True)), strict=True)
    save(f"timm_{architecture}", {k: tuple(v.shape) for k, v in state.items() if v.ndim})


def report(name, reference, ours, x):
    """The same logits; timm's mean and deviation are 0.5, and so is our preprocessing."""
    config = reference.pretrained_cfg
    if {*config["mean"], *config["std"]} != {0.5}:
        raise SystemExit(f"{name}: timm's preprocessing is not ours")
    with torch.inference_mode():
        found = ours(x).numpy()
        result = difference(found, reference(x * 2 - 1).numpy())
        print(f"{name}: {result:.2g} of the largest logit")
        if "inception_v3" in name:
            with as_trained():
                result = difference(found, reference(x * 2 - 1).numpy())
            print(f"{name} with averages that leave out the padding: {result:.2g}")
    if result > 1e-5:
        raise SystemExit(f"{name}: differs from timm")


def as_trained():
    """timm's Inception v3 counts the padding into its averages, other than TensorFlow, which trained the weights."""
    return mock.patch.object(F, "avg_pool2d", partial(F.avg_pool2d, count_include_pad=False))


if __name__ == "__main__":
    main()
