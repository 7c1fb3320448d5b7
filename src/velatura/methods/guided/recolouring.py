"""Moving a picture's colours to those of its regions' styles."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.methods.guided.mixing import GuidedMix
from velatura.picture.colour import transport_colours
from velatura.regions import Placement


def recoloured(pixels: Tensor, placement: Placement, share: float) -> Tensor:
    """Pixels (1, 3, H, W), the colours in each region moved by ``share`` (0..1) to its style's mean and covariance.

    Where regions blend, so do their results, by each one's part. Styles in words move no colours.
    """
    moved = pixels
    if not share:
        return moved
    for region, cover in zip(placement.regions, placement.parts(), strict=True):
        statistics = GuidedMix.of(region.style, pixels.device).statistics
        if statistics is None:
            continue
        mask = F.interpolate(torch.from_numpy(cover)[None, None].to(pixels), pixels.shape[2:], mode="area")
        if not bool(mask.any()):
            continue
        own = transport_colours(pixels, statistics.colour_mean, statistics.colour_factor, share, mask)
        moved = own if bool((mask == 1).all()) else moved + mask * (own - pixels)
    return moved
