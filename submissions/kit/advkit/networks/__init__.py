"""Trained classifiers: for ImageNet with published weights, for digits and CIFAR-10 with weights that come along.

Each maps x (float32, N x 3 x height x width, 0..1, any size) to logits N x classes, and has the label space `labels`.
Where they come from and what was verified: docs/models.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from advkit.config import pick
from advkit.errors import KitError
from advkit.labels import LabelSpace
from advkit.networks.efficientnet_lite import EfficientNetLite
from advkit.networks.layers import resize
from advkit.networks.loading import load_published, load_trained
from advkit.tensors import device

__all__ = ["NETWORKS", "Ensemble", "common_labels", "frozen", "in_precision", "load_network", "predict", "resize"]

TRAINED = Path(__file__).resolve().parents[1] / "trained"
"""Files of networks that were trained with `submissions/kit/training`, each beside its model card."""


class Ensemble(nn.Module):
    """The mean of the logits of several networks (Dong et al., arXiv:1710.06081, section 3.3)."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.labels = common_labels(members)

    def forward(self, x: Tensor) -> Tensor:
        """Logits N x classes."""
        return torch.stack([member(x) for member in self.members]).mean(dim=0)


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "efficientnet_lite0": partial(EfficientNetLite, variant=0, size=224),
    "efficientnet_lite1": partial(EfficientNetLite, variant=1, size=240),
    "efficientnet_lite2": partial(EfficientNetLite, variant=2, size=260),
    "inception_v3": partial(load_published, "inception_v3", "inception_v3"),
    "inception_v4": partial(load_published, "inception_v4", "inception_v4"),
    "inception_resnet_v2": partial(load_published, "inception_resnet_v2", "inception_resnet_v2"),
    "adv_inception_v3": partial(load_published, "inception_v3", "adv_inception_v3"),
    "ens3_adv_inception_v3": partial(load_published, "inception_v3", "ens3_adv_inception_v3"),
    "ens4_adv_inception_v3": partial(load_published, "inception_v3", "ens4_adv_inception_v3"),
    "adv_inception_resnet_v2": partial(load_published, "inception_resnet_v2", "adv_inception_resnet_v2"),
    "ens_adv_inception_resnet_v2": partial(load_published, "inception_resnet_v2", "ens_adv_inception_resnet_v2"),
    **{path.stem: partial(load_trained, path) for path in sorted(TRAINED.glob("*.safetensors"))},
}


PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_network(*names: str) -> nn.Module:
    """A network of NETWORKS, or the ensemble of several, in evaluation mode, its weights constant.

    Raises KitError for an unknown name, for weights that are nowhere or not those of the network, and for networks of
    different label spaces.
    """
    return frozen([pick(NETWORKS, name, "network")() for name in names])


def frozen(members: Sequence[nn.Module]) -> nn.Module:
    """One network, or the ensemble of several, in evaluation mode, its weights constant, on `device()`."""
    # Of the GPU's algorithms for a convolution only some give the same bits twice.
    torch.backends.cudnn.deterministic = True
    network = members[0] if len(members) == 1 else Ensemble(members)
    network.eval().requires_grad_(False)
    return network.to(device()).to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def common_labels(networks: Iterable[nn.Module]) -> LabelSpace:
    """The label space of all of them. Raises KitError where they have more than one."""
    first, *others = dict.fromkeys(network.labels for network in networks)
    if others:
        raise KitError(f"networks answer in the label spaces {first.name} and {others[0].name}; take those of one")
    return first


def in_precision(network: Callable[[Tensor], Tensor], precision: str) -> Callable[[Tensor], Tensor]:
    """The network computed in `float32` or, by autocast, in `bfloat16`; its logits are float32 either way.

    bfloat16 is faster where the processor has instructions for it. On EfficientNet-Lite0 it changed logits by up to
    2 % of their scale (0.23 of 13.3, eight photographs): fine for climbing, not for a defense, whose answers should
    be the same everywhere.
    """
    if pick(PRECISIONS, precision, "precision") is torch.float32:
        return network

    def computed(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return network(x).float()

    return computed


def predict(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The likeliest class of each image, int64, N, from 0."""
    with torch.no_grad():
        return network(x).argmax(dim=1)
