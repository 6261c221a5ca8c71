"""The PyTorch ports' own networks against ours, from one file of random weights for each.

Usage: ports.py CHECKOUT, a checkout of github.com/ylhz/tf_to_pytorch_model. A file has the entries that the port's
code asks for; they are noted while it is built on zeros.
"""

import sys
import tempfile
import warnings
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from fixtures import difference
from random_weights import pictures, random_array

from advkit.networks.loading import empty_network, fold
from advkit.weights.tf_slim import convert_port

CASES = {
    "inception_v3": ("inception_v3", "adv_inception_v3", "ens3_adv_inc_v3", "ens4_adv_inc_v3"),
    "inception_v4": ("inception_v4",),
    "inception_resnet_v2": ("inc_res_v2", "ens_adv_inc_res_v2"),
}


class Blank(dict):
    """Stands for a port's file: every entry that is asked for is there, with zeros for every array."""

    def __missing__(self, name):
        self[name] = defaultdict(lambda: np.zeros((), np.float32))
        return self[name]


def main():
    sys.path.insert(0, sys.argv[1])
    warnings.simplefilter("ignore")
    for architecture, ports in CASES.items():
        for port in ports:
            module = import_module(f"torch_nets.tf2torch_{port}")
            print(f"{port}: {check(architecture, module):.2g} of the largest logit")


def check(architecture, module):
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        layers = random_file(module)
        path = Path(folder) / "port.npy"
        np.save(path, layers, allow_pickle=True)
        reference = module.KitModel(str(path)).eval()
        ours = empty_network(architecture)
        ours.load_state_dict(convert_port(architecture, layers), assign=True)
        fold(ours.eval(), {"conv": "bn"})
        x = torch.from_numpy(pictures(2)).permute(0, 3, 1, 2)
        result = difference(ours(x).numpy(), reference(x * 2 - 1).numpy()[:, 1:])
    if result > 1e-5:
        raise SystemExit(f"{module.__name__}: differs")
    return result


def random_file(module):
    """Entry -> arrays, with the names that the port's code asks for and the shapes of its layers."""
    blank = Blank()
    with mock.patch.object(module, "load_weights", return_value=blank):
        network = module.KitModel("")
    return {name: dict(arrays(name, getattr(network, name.replace("/", "_")))) for name in blank}


def arrays(name, layer):
    """What a file holds for a layer, without the scale that TF-slim's batch norms lack."""
    if isinstance(layer, torch.nn.BatchNorm2d):
        sources = {"bias": layer.bias, "mean": layer.running_mean, "var": layer.running_var}
    else:
        sources = {"weights": layer.weight} | ({} if layer.bias is None else {"bias": layer.bias})
    for leaf, value in sources.items():
        kind = {"mean": "running_mean", "var": "running_var", "weights": "weight"}.get(leaf, leaf)
        yield leaf, random_array(f"{name}.{kind}", tuple(value.shape))


if __name__ == "__main__":
    main()
