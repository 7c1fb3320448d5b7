"""The statistics of a style picture that losses compare with."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.losses.base import StyleStatistics
from velatura.losses.gram import STYLE_LAYERS, gram_matrix
from velatura.models.features.vgg import VGGTrunk
from velatura.picture.colour import colour_moments


@torch.no_grad()
def style_statistics(pixels: Tensor, trunk: VGGTrunk) -> StyleStatistics:
    """Gram matrices, in float32, and colour moments of a style picture (1, 3, H, W) in [-1, 1]."""
    grams = {layer: gram_matrix(value.float()) for layer, value in trunk.features(pixels, STYLE_LAYERS).items()}
    return StyleStatistics(grams, *colour_moments(pixels))
