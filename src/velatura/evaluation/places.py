"""Where a picture is measured: luminance, masks, and the places where a content is flat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.picture.blur import blurred

BLACK, WHITE = 1 / 255, 254 / 255


def luminance(pixels: Tensor) -> Tensor:
    """Luma (Rec. 601) of pictures (B, 3, H, W) in [-1, 1]: (B, 1, H, W) in [0, 1].

    >>> import torch
    >>> luminance(torch.ones(1, 3, 2, 2)).unique().tolist()
    [1.0]
    """
    red, green, blue = ((pixels.clamp(-1, 1).float() + 1) / 2).unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]


def weights_like(values: Tensor, mask: Tensor | None) -> Tensor:
    """A mask (1, 1, H, W) in [0, 1] at the size of ``values`` (B, C, h, w), by areas: (B, 1, h, w); ones without it."""
    if mask is None:
        return torch.ones_like(values[:, :1])
    if mask.shape[2:] != values.shape[2:]:
        mask = F.interpolate(mask.float(), values.shape[2:], mode="area")
    return mask.to(values).expand(len(values), -1, -1, -1)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """The mean of values (B, 1, H, W) under weights of the same shape; 0 where there is no weight at all."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-12)


def inside(pixels: Tensor, mask: Tensor | None) -> Tensor:
    """The pixels (B, C, H, W) where the mask (1, 1, H, W) is over a half, of all pictures: (C, N).

    Raises ValueError for a mask without any.
    """
    if mask is None:
        return pixels.transpose(0, 1).flatten(1)
    chosen = pixels.transpose(0, 1)[:, weights_like(pixels, mask)[:, 0] > 0.5]
    if not chosen.shape[1]:
        raise ValueError("the mask holds no pixel of the picture")
    return chosen


def local_deviation(values: Tensor, sigma: float) -> Tensor:
    """Standard deviation of (B, 1, H, W) in a Gaussian window of ``sigma`` around each pixel: (B, 1, H, W)."""
    return (blurred(values.square(), sigma) - blurred(values, sigma).square()).clamp(min=0).sqrt()
