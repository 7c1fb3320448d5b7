"""Strokes over a painted picture: each region's, by the feed-forward network that house brings (decision 23)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from velatura.methods.context import RunContext
from velatura.methods.strokes.tuned import is_tuned, network_of
from velatura.models.features.magenta import StyleTransformer
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.stroke_network import with_strokes
from velatura.regions import Placement, Region
from velatura.style import Style

STROKES_BYTES_PER_PIXEL = 900  # of memory, of a picture that is painted over: measured at 768 px
LAST_MOMENT = 1 - 1e-6  # of a run: regions whose spans are over get no strokes


class RegionStrokes(NamedTuple):
    """The network that paints a region's strokes, and the standardised style vector (1, 100) that it takes."""

    network: StyleTransformer
    vector: Tensor


def strokes_of(
    regions: Sequence[Region], vectors: Sequence[Tensor | None], context: RunContext[HouseBackbone]
) -> list[RegionStrokes | None]:
    """What paints the strokes of regions by their style vectors (1, 100), None for a region without one; nothing where
    the model has no stroke network.

    Raises StyleError for a style that was tuned on a stroke network of other layers.
    """
    own = context.backbone.stroke_network
    if own is None:
        return []

    def network(style: Style) -> StyleTransformer:
        key = ("stroke network", style.identity, str(context.device))
        return context.cache.get_or_compute(key, partial(network_of, style, own)) if is_tuned(style) else own

    return [
        None if vector is None else RegionStrokes(network(region.style), vector)
        for region, vector in zip(regions, vectors, strict=True)
    ]


@torch.no_grad()
def with_region_strokes(
    pixels: Tensor, placement: Placement, strokes: Sequence[RegionStrokes | None], share: float
) -> Tensor:
    """Pixels (1, 3, H, W), in each region ``share`` (0..1) of the way to what its ``strokes`` paint over them; as they
    are without strokes.
    """
    if not strokes or not share:
        return pixels
    parts = placement.shares((pixels.shape[2], pixels.shape[3]), placement.acting(LAST_MOMENT)).to(pixels)
    added = torch.zeros_like(pixels)
    for own, part in zip(strokes, parts, strict=True):
        if own is not None and bool(part.any()):
            added += with_strokes(own.network, pixels, own.vector.to(pixels), share * part) - pixels
    return pixels + added
