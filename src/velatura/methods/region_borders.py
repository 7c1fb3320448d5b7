"""Borders between regions whose latents are one tensor: drawn in pixels, where the masks are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.picture.blur import blurred
from velatura.regions import Placement

PART = 0.001  # of a latent cell: less than this is not seen of a region
EDGE = 0.5  # what a part changes within a cell at least, to be a sharp edge
FLAT = 1e-4  # variance of colours on -1 to 1: less is flat
NEAREST = 1e-4  # least weight of a region's own cells around a pixel; farther away they say nothing of it


@torch.no_grad()
def with_sharp_borders(pixels: Tensor, start: Tensor, placement: Placement, cell: int) -> Tensor:
    """Pixels (1, 3, H, W), redrawn where regions meet with a sharp edge inside of a latent cell of ``cell`` pixels.

    There a decoded picture passes from one style to the next in steps of a cell. Instead each region gets the ``start``
    (1, 3, H, W), which knows the masks' own edges, moved to the mean colours of the region's own cells near by.
    Elsewhere, under soft edges, and where a region meets none, the pixels stay.
    """
    if cell == 1 or len(placement.regions) == 1:
        return pixels
    masks = torch.from_numpy(np.stack(placement.parts()))[:, None].to(pixels)
    parts = F.interpolate(masks, pixels.shape[2:], mode="area")
    crossed = _crossed_cells(parts, cell)
    if not bool(crossed.any()):
        return pixels
    reach = 3 * cell // 4
    band = F.max_pool2d(_enlarged(crossed, pixels), 2 * reach + 1, 1, reach)
    own_cells = _enlarged(F.avg_pool2d(parts, cell) > 1 - PART, pixels)
    drawn = pixels
    for part, own in zip(parts[:, None], own_cells[:, None], strict=True):
        drawn = drawn + part * (_in_colours_near(start, pixels, own, cell) - pixels)
    return torch.lerp(pixels, drawn, blurred(band, cell / 3).clamp(0, 1))


def _crossed_cells(parts: Tensor, cell: int) -> Tensor:
    """The cells (1, 1, h, w) that hold several of the regions' ``parts`` (K, 1, H, W) and a sharp edge of one."""
    several = (F.avg_pool2d(parts, cell) > PART).sum(0, keepdim=True) > 1
    spread = F.max_pool2d(parts, cell) + F.max_pool2d(-parts, cell)
    return several & (spread.amax(0, keepdim=True) > EDGE)


def _in_colours_near(start: Tensor, pixels: Tensor, own: Tensor, sigma: float) -> Tensor:
    """``start`` with the mean of ``pixels`` where ``own`` (1, 1, H, W) is 1 around each pixel, and no more contrast."""
    weight = blurred(own, sigma)

    def near(values: Tensor) -> Tensor:
        return blurred(own * values, sigma) / weight.clamp(min=NEAREST)

    mean, start_mean = near(pixels), near(start)
    spread, start_spread = near(pixels.square()) - mean.square(), near(start.square()) - start_mean.square()
    gain = (spread.clamp(min=0).mean(1, keepdim=True) / start_spread.mean(1, keepdim=True).clamp(min=FLAT)).clamp(max=1)
    moved = mean + gain.sqrt() * (start - start_mean)
    return torch.where(weight > NEAREST, moved, start)


def _enlarged(cells: Tensor, pixels: Tensor) -> Tensor:
    """What is so of cells (K, 1, h, w) as 1 and 0 at the size of ``pixels``."""
    return F.interpolate(cells.to(pixels), pixels.shape[2:], mode="nearest")
