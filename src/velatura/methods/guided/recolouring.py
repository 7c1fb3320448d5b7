"""Moving a picture's colours, and its contrast by scale, to those of its regions' styles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.methods.guided.mixing import GuidedMix, pictures_at
from velatura.picture.contrast import contrast_of, match_contrast
from velatura.picture.palette import mixed_palette, palette_of, transport_palette
from velatura.regions import Placement

Pictures = list[tuple[Tensor, float]]


def recoloured(pixels: Tensor, placement: Placement, share: float) -> Tensor:
    """Pixels (1, 3, H, W), the colours in each region moved by ``share`` (0..1) to its style's palette.

    Where regions blend, so do their results, by each one's part. Styles in words move no colours.
    """

    def move(pictures: Pictures, mask: Tensor) -> Tensor:
        palette = mixed_palette([(palette_of(picture), part) for picture, part in pictures])
        return transport_palette(pixels, palette, share, mask)

    return _moved_in_regions(pixels, placement, move) if share else pixels


def with_style_contrast(pixels: Tensor, placement: Placement, share: float) -> Tensor:
    """Pixels (1, 3, H, W), the contrast by scale in each region moved by ``share`` (0..1) to its style's: towards lines
    for an ink drawing, towards soft tones for a glazed painting. Styles in words move none.
    """

    def move(pictures: Pictures, mask: Tensor) -> Tensor:
        wanted = torch.stack([part * contrast_of(picture) for picture, part in pictures]).sum(0)
        return match_contrast(pixels, wanted, share, mask)

    return _moved_in_regions(pixels, placement, move) if share else pixels


def _moved_in_regions(pixels: Tensor, placement: Placement, move: Callable[[Pictures, Tensor], Tensor]) -> Tensor:
    """Pixels (1, 3, H, W), in each region those that ``move`` makes of its style's pictures, at the pixels' size, and
    its mask (1, 1, H, W).
    """
    moved = pixels
    for region, cover in zip(placement.regions, placement.parts(), strict=True):
        pictures = pictures_at(GuidedMix.of(region.style), min(pixels.shape[2:]), pixels.device)
        mask = F.interpolate(torch.from_numpy(cover)[None, None].to(pixels), pixels.shape[2:], mode="area")
        if not pictures or not bool(mask.any()):
            continue
        own = move(pictures, mask)
        moved = own if bool((mask == 1).all()) else moved + mask * (own - pixels)
    return moved
