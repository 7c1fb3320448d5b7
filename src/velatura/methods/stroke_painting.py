"""Strokes over a painted picture: each region's, by the feed-forward network that house brings (decision 23)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_painter import PaintedStyle
from velatura.models.house.stroke_network import with_strokes
from velatura.regions import Placement

LAST_MOMENT = 1 - 1e-6  # of a run: regions whose spans are over get no strokes


@torch.no_grad()
def with_region_strokes(
    pixels: Tensor, placement: Placement, styles: Sequence[PaintedStyle], share: float, backbone: HouseBackbone
) -> Tensor:
    """Pixels (1, 3, H, W), in each region ``share`` (0..1) of the way to what the stroke network paints over them in
    the region's style; as they are where the model has no such network.
    """
    network = backbone.stroke_network
    if network is None or not share:
        return pixels
    parts = placement.shares((pixels.shape[2], pixels.shape[3]), placement.acting(LAST_MOMENT)).to(pixels)
    added = torch.zeros_like(pixels)
    for style, part in zip(styles, parts, strict=True):
        if bool(part.any()):
            added += with_strokes(network, pixels, style.vector.to(pixels), share * part) - pixels
    return pixels + added
