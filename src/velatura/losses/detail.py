"""Where a content has detail: there style losses may act, while flat places such as skies stay calm."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from velatura.losses.luma import luma

WINDOW = 15  # px
HALF = 0.04  # deviation of luma, of pixels in [-1, 1], at which a place counts half


def local_mean(maps: Tensor, window: int) -> Tensor:
    """The mean of maps (B, C, H, W) over a square ``window`` of an odd number of pixels, cut off at the borders."""
    half = window // 2  # rows, then columns: a window of 63 px costs 126 additions a pixel instead of 3969
    rows = F.avg_pool2d(maps, (1, window), stride=1, padding=(0, half), count_include_pad=False)
    return F.avg_pool2d(rows, (window, 1), stride=1, padding=(half, 0), count_include_pad=False)


def local_detail(pixels: Tensor, least: float) -> Tensor:
    """How much detail is around each pixel of a content (1, 3, H, W): (1, 1, H, W), from ``least`` (flat) to 1."""
    light = luma(pixels)[:, None]
    deviation = (local_mean(light.square(), WINDOW) - local_mean(light, WINDOW).square()).clamp(min=0).sqrt()
    detail = local_mean(deviation / (deviation + HALF), WINDOW)
    return least + (1 - least) * detail / detail.amax().clamp(min=1e-3)


def with_gradient_weights(pixels: Tensor, weights: Tensor) -> Tensor:
    """The same pixels (B, C, H, W), with a gradient that is multiplied by ``weights`` (1, 1, H, W)."""
    return weights * pixels + (1 - weights) * pixels.detach()
