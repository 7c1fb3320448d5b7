"""Tones of a result in its regions: what a pale or dark style drives out of the range of a picture comes back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.regions import Placement

MOST_CLIPPED = 0.02  # share of a region's pixels that may leave the range
TAIL = 0.005  # share of them at each end that still does afterwards
RANGE = 0.97  # where the rest ends, of -1 to 1
MIDDLE = 0.8  # the mean of a region that is moved in lies within this


@torch.no_grad()
def unclipped(pixels: Tensor, placement: Placement) -> Tensor:
    """Pixels (1, 3, H, W), those of a region of which more than 2 % lie outside [-1, 1] moved and scaled about their
    mean until 0.5 % at each end do: order and detail of what would be clipped are kept.
    """
    moved = pixels
    for part in placement.parts():
        mask = F.interpolate(torch.from_numpy(part)[None, None].to(pixels), pixels.shape[2:], mode="area")
        inside = pixels.permute(0, 2, 3, 1)[mask[:, 0] > 0.5]
        if len(inside) and float((inside.abs() > 1).any(1).float().mean()) > MOST_CLIPPED:
            moved = moved + mask * (_scaled(pixels, inside) - pixels)
    return moved


def _scaled(pixels: Tensor, inside: Tensor) -> Tensor:
    """Pixels in the one affine map that brings those ``inside`` (N, 3) into the range."""
    mean = inside.mean()
    low = torch.quantile(_few(inside.amin(1)), TAIL)
    high = torch.quantile(_few(inside.amax(1)), 1 - TAIL)
    middle = mean.clamp(-MIDDLE, MIDDLE)
    rooms = ((RANGE - middle) / (high - mean).clamp(min=1e-3), (RANGE + middle) / (mean - low).clamp(min=1e-3))
    return middle + (pixels - mean) * torch.stack(rooms).amin().clamp(max=1)


def _few(values: Tensor) -> Tensor:
    """At most a million of the values, evenly taken: more are too many for ``quantile``."""
    return values[:: 1 + len(values) // 1_000_000]
