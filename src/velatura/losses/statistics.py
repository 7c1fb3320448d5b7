"""The statistics of a style picture that losses compare with."""

from __future__ import annotations

from collections.abc import Sequence

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


def mixed_statistics(parts: Sequence[tuple[StyleStatistics, float]]) -> StyleStatistics:
    """The weighted means, by shares that sum to 1, of Gram matrices, colour means and colour covariances."""
    if len(parts) == 1:
        return parts[0][0]
    grams = {layer: sum_of([(part.grams[layer], share) for part, share in parts]) for layer in parts[0][0].grams}
    covariance = sum_of([(part.colour_factor @ part.colour_factor.T, share) for part, share in parts])
    factor: Tensor = torch.linalg.cholesky(covariance)
    return StyleStatistics(grams, sum_of([(part.colour_mean, share) for part, share in parts]), factor)


def sum_of(parts: Sequence[tuple[Tensor, float]]) -> Tensor:
    """The weighted sum of tensors of one shape."""
    return torch.stack([share * tensor for tensor, share in parts]).sum(0)
