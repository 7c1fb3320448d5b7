"""Crops of a style picture, as training examples of its word."""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.errors import StyleError
from velatura.methods.s2prest.conditioned import WordConditioned

Area = tuple[EllipsisType, slice, slice]  # the index of a rectangle in (…, H, W)

LEAST_VISIBLE = 0.3  # the share of a crop that must be inside the style mask


@dataclass(frozen=True)
class Views:
    """Encoded crops: ``latents`` (B, C, h, w), image ``embeddings`` (B, E), ``weights`` (B, 1, h, w) in [0, 1] of the
    cells that count.
    """

    latents: Tensor
    embeddings: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def at(self, indices: Tensor) -> Views:
        """The views of these indices, as a batch."""
        return Views(self.latents[indices], self.embeddings[indices], self.weights[indices])


@torch.no_grad()
def make_views(
    pixels: Tensor, mask: Tensor, count: int, side: int, backbone: WordConditioned, generator: torch.Generator
) -> Views:
    """``count`` square crops of a picture (1, 3, H, W), scaled to ``side`` pixels, each encoded once.

    A crop's side is half to all of the picture's short side; half of the crops are flipped. Raises StyleError when the
    ``mask`` (1, 1, H, W), 1 where the style counts, leaves too little of the picture.
    """
    views: list[Views] = []
    for _ in range(20 * count):
        if len(views) == count:
            break
        area, flipped = _draw_crop(pixels.shape[2], pixels.shape[3], generator)
        if mask[area].mean() < LEAST_VISIBLE:
            continue
        view, counted = (part[area].flip(-1) if flipped else part[area] for part in (pixels, mask))
        view = F.interpolate(view, (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
        latents, embedding = backbone.encode(view), backbone.encode_image(view)
        weights = F.interpolate(counted, latents.shape[2:], mode="area").to(backbone.device)
        views.append(Views(latents, embedding, weights))
    if len(views) < count:
        raise StyleError("The style mask leaves too little of the style picture: keep more of it white.")
    return Views(*(torch.cat([getattr(view, name) for view in views]) for name in ("latents", "embeddings", "weights")))


def _draw_crop(height: int, width: int, generator: torch.Generator) -> tuple[Area, bool]:
    """The index of a random square crop in (…, H, W), and whether it is flipped."""
    scale = 0.5 + 0.5 * torch.rand((), generator=generator).item()
    crop = max(1, int(scale * min(height, width)))
    top = int(torch.randint(height - crop + 1, (), generator=generator))
    left = int(torch.randint(width - crop + 1, (), generator=generator))
    flipped = bool(torch.rand((), generator=generator) < 0.5)
    return (..., slice(top, top + crop), slice(left, left + crop)), flipped
