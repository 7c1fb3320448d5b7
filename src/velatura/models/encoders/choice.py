"""The choice of the image encoder for losses: CLIP where its weights are at hand, else EfficientNet-Lite0."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.encoders.clip import ClipImageEncoder, clip_image_encoder
from velatura.models.features.efficientnet_lite import efficientnet_lite0
from velatura.models.features.magenta import STYLE_NUMBERS
from velatura.models.loading.catalogue import HOUSE, HOUSE_FOLDER

log = logging.getLogger("velatura")


class EfficientNetImageEncoder:
    """EfficientNet-Lite0's features, standardised over the house model's training pictures, in place of CLIP's."""

    source = "efficientnet-lite0, in place of CLIP"

    def __init__(self, device: torch.device) -> None:
        from velatura.models.house.image_encoder import HouseImageEncoder

        statistics = HouseImageEncoder.from_pretrained(HOUSE_FOLDER / "image_encoder")
        self.network = efficientnet_lite0(device)
        self.mean = statistics.mean[STYLE_NUMBERS:].float().to(device)
        self.std = statistics.std[STYLE_NUMBERS:].float().to(device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Standardised features (B, 1280) of pixels (B, 3, H, W) in [-1, 1]; differentiable."""
        standardised: Tensor = (self.network.features(pixels.to(self.mean.device).float()) - self.mean) / self.std
        return standardised

    def projected(self, pixels: Tensor) -> Tensor:
        """The same features: they are not normalised."""
        return self(pixels)


def without_clip(model: str) -> str:
    """Why there is no CLIP to compare pictures with for a model, and what would bring one."""
    if model == HOUSE:
        return f"the model {model} has an image encoder of its own, which knows no words"
    if Path(model).exists():
        return f"CLIP is not here (connect once, or put its files into {Path(model).parent / 'clip'})"
    return "CLIP is not here (connect once, so that it can be loaded)"


@lru_cache(maxsize=2)
def image_encoder_for(
    model: str, device: torch.device, default: str = "clip-l"
) -> ClipImageEncoder | EfficientNetImageEncoder:
    """The CLIP beside a model or else the ``default`` one (a short name of the catalogue).

    It is EfficientNet-Lite0 for the house model, and, with a warning, where CLIP cannot be had.
    """
    if model == HOUSE:
        return EfficientNetImageEncoder(device)
    try:
        return clip_image_encoder(model, device, default)
    except ModelError as error:
        log.warning("The CLIP losses use EfficientNet-Lite0, because CLIP cannot be had: %s", error)
        return EfficientNetImageEncoder(device)
