"""Made pictures: plain contents for paintings, and photos painted by Magenta's network for the student to follow."""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.models.features.magenta import painted_enlarged, style_transformer, style_vectors
from velatura.picture.luma import luma


@torch.no_grad()
def without_style(pixels: Tensor, photo: Tensor, chance: random.Random) -> Tensor:
    """A painting's crop (1, 3, H, W) with little of its strokes: painted by a photo's vector, smoothed, or in grays."""
    draw = chance.random()
    if draw < 0.55:
        plain = _smoothed(pixels, chance) if chance.random() < 0.4 else pixels
        return painted_by_magenta(plain, style_vectors(photo))
    if draw < 0.87:
        return _smoothed(pixels, chance)
    gray = luma(_smoothed(pixels, chance))[:, None].expand_as(pixels)
    return (gray * chance.uniform(0.6, 1.2) + chance.uniform(-0.25, 0.25)).clamp(-1, 1)


@torch.no_grad()
def painted_by_magenta(pixels: Tensor, vectors: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) painted by raw style vectors (B, 100), with strokes as in pictures of 384 px."""
    return painted_enlarged(style_transformer(pixels.device), pixels, vectors).clamp(-1, 1)


def _smoothed(pixels: Tensor, chance: random.Random) -> Tensor:
    """The median of each square window, then a small blur."""
    side = chance.choice((3, 5, 5, 7))
    padded = F.pad(pixels, [side // 2] * 4, mode="reflect")
    windows = F.unfold(padded.transpose(0, 1), side)
    smooth = windows.median(1).values.view_as(pixels)
    return F.avg_pool2d(F.pad(smooth, [1] * 4, mode="reflect"), 3, 1) if chance.random() < 0.5 else smooth
