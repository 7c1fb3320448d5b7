"""Crops of a picture, of which the feature network gets one in each step."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MOST = 20  # crops: fewer than the usual steps of a run, so that each has its turn
ENOUGH = 0.5  # crops that cover less of a region than this share of what the best one covers are left out


@dataclass(frozen=True)
class Crop:
    """A rectangle, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, pixels: Tensor) -> Tensor:
        """The crop (B, C, height, width) of (B, C, H, W)."""
        return pixels[:, :, self.top : self.top + self.height, self.left : self.left + self.width]


def crops_over(
    size: tuple[int, int], side: int, generator: torch.Generator, share: Tensor | None = None
) -> tuple[Crop, ...]:
    """At most 20 square crops that cover a picture of ``size`` (height, width), in random order.

    They are ``side`` px wide, larger where it would take more of them, and overlap by at least a quarter; with ``side``
    0 there is one, the picture. ``share`` (1, 1, h, w) in 0..1, the part of the picture that a region covers, leaves
    out crops with little of it.
    """
    height, width = (min(side or length, length) for length in size)
    corners = list(itertools.product(_starts(size[0], height), _starts(size[1], width)))
    if len(corners) > MOST:
        return crops_over(size, side + side // 4, generator, share)
    order = torch.randperm(len(corners), generator=generator).tolist()
    crops = [Crop(top, left, height, width) for top, left in (corners[number] for number in order)]
    if share is not None:
        sized = F.interpolate(share.float(), size, mode="area")
        covered = [crop.of(sized).mean().item() for crop in crops]
        crops = [crop for crop, part in zip(crops, covered, strict=True) if part >= ENOUGH * max(covered)]
    return tuple(crops)


def _starts(length: int, side: int) -> list[int]:
    """Where crops of ``side`` begin so that they cover ``length``, each at least a quarter over the one before."""
    last = length - side
    count = math.ceil(last / (0.75 * side))
    return [round(last * number / count) for number in range(count + 1)] if count else [0]
