"""Moving colours, region by region, to those of the styles: on a method's way, and of its result where asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.picture.palette import keep_chroma, near_palette, palette_of, transport_palette
from velatura.regions import Placement
from velatura.style import Style
from velatura.style.pictures import palette_of_style

# Of the way to the style's palette that a result goes at the end, where its start has gone all of it: once more in full
# would repeat the palette's curve, whose steepest parts turn a breath of shade in a white sky into the next colour.
FINAL_SHARE = 0.7


@torch.no_grad()
def with_colours(pixels: Tensor, content: Tensor, placement: Placement, share: float | None) -> Tensor:
    """A result's pixels (1, 3, H, W), its colours ``share`` of the way from those of its ``content`` (the same shape)
    at 0 to the palette of each region's own style at 1, as near to it as leaves middle tones to the content; None
    leaves them as they are.

    Where regions blend, so do their results, by each one's part. Styles without a picture move nothing.
    """
    if share is None:
        return pixels
    return moved_in_regions(pixels, placement, partial(_in_colours, pixels, content.to(pixels), share))


@torch.no_grad()
def recoloured(pixels: Tensor, content: Tensor, placement: Placement, share: float) -> Tensor:
    """Move the colours of pixels (1, 3, H, W), in each region by ``share`` (0..1), towards its style's palette, as near
    to it as leaves middle tones to their ``content`` (the same shape): the photo that they were made of, or are.

    Where regions blend, so do their results, by each one's part. Styles without a picture move nothing.
    """
    if not share:
        return pixels
    return moved_in_regions(pixels, placement, partial(_towards_palette, pixels, content.to(pixels), share))


def moved_in_regions(pixels: Tensor, placement: Placement, move: Callable[[Style, Tensor], Tensor]) -> Tensor:
    """Pixels (1, 3, H, W), in each region those that ``move`` makes for its style and mask (1, 1, H, W), by its part
    where regions blend.
    """
    moved = pixels
    for region, part in zip(placement.regions, placement.parts(), strict=True):
        mask = F.interpolate(torch.from_numpy(part)[None, None].to(pixels), pixels.shape[2:], mode="area")
        if not bool(mask.any()):
            continue
        own = move(region.style, mask)
        moved = own if bool((mask == 1).all()) else moved + mask * (own - pixels)
    return moved


def _towards_palette(pixels: Tensor, content: Tensor, share: float, style: Style, mask: Tensor) -> Tensor:
    """The pixels ``share`` of the way to the near palette of one region, whose part of the picture is ``mask``."""
    palette = palette_of_style(style)
    if palette is None:
        return pixels
    return transport_palette(pixels, near_palette(palette, palette_of(content, mask)), share, mask)


def _in_colours(pixels: Tensor, content: Tensor, share: float, style: Style, mask: Tensor) -> Tensor:
    """The pixels ``share`` of the way from their content's colours to those of one region's style."""
    if not share:
        return keep_chroma(pixels, content, mask)
    moved = _towards_palette(pixels, content, 1.0, style, mask)
    if share == 1 or moved is pixels:  # of a style without a picture
        return moved
    return torch.lerp(keep_chroma(pixels, content, mask), moved, share)
