"""Where a content has detail: there style losses may act, while flat places such as skies stay calm."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from velatura.picture.luma import luma

WINDOW = 15  # px
HALF = 0.04  # deviation of luma, of pixels in [-1, 1], at which a place counts half


def local_mean(maps: Tensor, window: int) -> Tensor:
    """The mean of maps (B, C, H, W) over a square ``window`` of an odd number of pixels, cut off at the borders."""
    rows, columns = (_means_of_windows(length, window).to(maps) for length in maps.shape[2:])
    return rows @ maps @ columns.T


@lru_cache(maxsize=16)
def _means_of_windows(length: int, window: int) -> Tensor:
    """The matrix (length, length) that takes values to their means over ``window``: a quarter of a pooling's time."""
    places = torch.arange(length)
    inside = ((places[:, None] - places).abs() <= window // 2).float()
    return inside / inside.sum(1, keepdim=True)


def local_detail(pixels: Tensor, least: float) -> Tensor:
    """How much detail is around each pixel of a content (1, 3, H, W): (1, 1, H, W), from ``least`` (flat) to 1."""
    light = luma(pixels)[:, None]
    deviation = (local_mean(light.square(), WINDOW) - local_mean(light, WINDOW).square()).clamp(min=0).sqrt()
    detail = local_mean(deviation / (deviation + HALF), WINDOW)
    return least + (1 - least) * detail / detail.amax().clamp(min=1e-3)


def with_gradient_weights(pixels: Tensor, weights: Tensor) -> Tensor:
    """The same pixels (B, C, H, W), with a gradient that is multiplied by ``weights`` (1, 1, H, W)."""
    return weights * pixels + (1 - weights) * pixels.detach()
