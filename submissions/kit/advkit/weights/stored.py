"""Weights as tensors: read from safetensors, checked against the network, and made into a file that is stored.

A stored file depends on its source alone: who imports the same file twice gets the same bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from advkit.errors import KitError
from advkit.networks.loading import COUNTER, differences, empty_network, shapes
from advkit.weights.files import one_line, read_metadata


def read_tensors(path: Path, architecture: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, float32; counters of batch norms are left out.

    Raises KitError where it is not whole, and where names, shapes or dtypes are not those of the network, which is
    looked at before anything is loaded; the values are left to `check_tensors`.
    """
    read_metadata(path)
    try:
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys() if not name.endswith(COUNTER)}  # noqa: SIM118
            if other := [name for name, part in parts.items() if part.get_dtype() != "F32"]:
                raise KitError(f"{path}: not the weights of {architecture}: {one_line(other[0])} is not float32")
            check_shapes(str(path), architecture, {name: tuple(part.get_shape()) for name, part in parts.items()})
            return {name: file.get_tensor(name) for name in parts}
    except (SafetensorError, OSError) as error:
        raise KitError(f"{path}: not a whole safetensors file ({one_line(error)}); fetch it again") from error


def check_tensors(where: str, architecture: str, tensors: Mapping[str, Tensor]) -> int:
    """The number of classes, 1000 or 1001, that a complete and finite set of weights is for.

    Raises KitError where names or shapes are not those of the network, a tensor is not float32, or a value is not
    finite.
    """
    classes = check_shapes(where, architecture, shapes(tensors))
    if other := [name for name, tensor in tensors.items() if tensor.dtype != torch.float32]:
        raise KitError(f"{where}: not the weights of {architecture}: {one_line(other[0])} is not float32")
    if bad := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise KitError(f"{where}: {bad[0]} holds values that are no finite numbers; fetch the file again")
    return classes


def check_shapes(where: str, architecture: str, found: Mapping[str, tuple[int, ...]]) -> int:
    """1000 or 1001, whichever the shapes are for. Raises KitError where they are for neither."""
    has_background = any(shape[:1] == (1001,) for shape in found.values())
    expected = shapes(empty_network(architecture, has_background).state_dict())
    if faults := differences(expected, found):
        raise KitError(f"{where}: not the weights of {architecture}: {one_line(faults)}; name the right file")
    return 1001 if has_background else 1000


def without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the counters of batch norms, which no output depends on, and which not every source has."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """As safetensors does, but with the header's keys sorted: there their order is another one in every process."""
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(metadata))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return b"".join([len(header).to_bytes(8, "little"), header, memoryview(data)[end:]])
