"""Files of published weights, as they are and as a stranger might make them; the names are real, the numbers random."""

import gzip
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
DENSE = ("Logits/Logits", "AuxLogits/Logits", "AuxLogits/Aux_logits")
"""Layers that are no convolutions."""


def tf_variables(architecture="inception_v3", seed=0):
    """TF-slim's variables of a network, as TF-slim's own graph names and shapes them."""
    with np.load(FIXTURES / f"tf_slim_{architecture}.npz", allow_pickle=False) as arrays:
        lines = [line.split(" ") for line in arrays["variables"].tolist()]
    generator = np.random.default_rng(seed)
    shapes = {name: tuple(int(side) for side in text.split("x")) for name, text in lines}
    return {name: generator.uniform(0.01, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def port_layers(variables, prefix=""):
    """The same as the layers of a PyTorch port, whose scope may have a prefix such as Ens3Adv."""
    layers = {}
    for name, array in variables.items():
        scope, layer, leaf = _split(name)
        own = f"{prefix}{scope}"
        start = own if layer.startswith(("Logits", "AuxLogits")) else f"{own}/{own}"
        if leaf.startswith("BatchNorm/"):
            of = {"beta": "bias", "gamma": "scale", "moving_mean": "mean", "moving_variance": "var"}
            layers.setdefault(f"{start}/{layer}/BatchNorm/FusedBatchNorm", {})[of[leaf.split("/")[1]]] = array
        else:
            operation = "MatMul" if layer in DENSE else "Conv2D"
            turned = array.transpose((3, 2, 0, 1) if array.ndim == 4 else range(array.ndim)[::-1])
            of = {"weights": "weights", "biases": "bias"}
            layers.setdefault(f"{start}/{layer}/{operation}", {})[of[leaf]] = np.ascontiguousarray(turned)
    return layers


def write_port(path, layers, protocol=2):
    """As NumPy wrote them: protocol 2 by the versions of the ports' time, 3 and 4 since. Returns the path."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(header.getvalue() + pickle.dumps(np.array(layers, dtype=object), protocol=protocol))
    return path


def write_pickle(path, data):
    """A file with a port's header in front of any pickle, or of what is none. Returns the path."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(header.getvalue() + data)
    return path


def write_archive(path, members):
    """A .tar.gz of (TarInfo or name, bytes). Returns the path."""
    with gzip.open(path, "wb", compresslevel=1) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for entry, data in members:
            info = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def _split(name):
    """Scope, layer and leaf of a variable."""
    scope, rest = name.split("/", 1)
    layer, _, leaf = rest.partition("/BatchNorm/")
    if leaf:
        return scope, layer, f"BatchNorm/{leaf}"
    layer, _, leaf = rest.rpartition("/")
    return scope, layer, leaf
