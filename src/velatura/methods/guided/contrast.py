"""Moving a picture's contrast by scale to that of its regions' styles."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.methods.colours import moved_in_regions
from velatura.methods.guided.mixing import GuidedMix, pictures_at
from velatura.picture.contrast import contrast_of, match_contrast
from velatura.regions import Placement
from velatura.style import Style


def with_style_contrast(pixels: Tensor, placement: Placement, share: float) -> Tensor:
    """Pixels (1, 3, H, W), the contrast by scale in each region moved by ``share`` (0..1) to its style's: towards lines
    for an ink drawing, towards soft tones for a glazed painting. Styles in words move none.
    """

    def move(style: Style, mask: Tensor) -> Tensor:
        pictures = pictures_at(GuidedMix.of(style), min(pixels.shape[2:]), pixels.device)
        if not pictures:
            return pixels
        wanted = torch.stack([part * contrast_of(picture) for picture, part in pictures]).sum(0)
        return match_contrast(pixels, wanted, share, mask)

    return moved_in_regions(pixels, placement, move) if share else pixels
