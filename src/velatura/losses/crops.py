"""Random views of a picture for image encoders: the same for result, content and style where they are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ANGLE, SHIFT, ASPECT = 15.0, 0.1, 4 / 3  # degrees, share of the side, widest ratio of sides


@dataclass(frozen=True)
class Crop:
    """A rotated rectangle: its centre and half sides as shares of width and height in [-1, 1], its angle in radians."""

    x: float
    y: float
    half_width: float
    half_height: float
    angle: float

    def matrix(self, aspect: float) -> list[list[float]]:
        """What ``affine_grid`` takes, for a picture ``aspect`` times as wide as high."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return [
            [self.half_width * cos, -self.half_height * sin / aspect, self.x],
            [self.half_width * sin * aspect, self.half_height * cos, self.y],
        ]


def drawn_crops(count: int, area: tuple[float, float], generator: torch.Generator) -> list[Crop]:
    """Crops of ``area`` (least, most) share of the picture, turned by up to 15 degrees, inside or nearly."""
    crops = []
    for share, ratio, across, down, turn in torch.rand(count, 5, generator=generator).tolist():
        side = math.sqrt(area[0] + (area[1] - area[0]) * share)
        stretch = ASPECT ** (ratio - 0.5)
        width, height = min(1.0, side * stretch), min(1.0, side / stretch)
        room = (1 - width + SHIFT * width, 1 - height + SHIFT * height)
        angle = math.radians(ANGLE) * (2 * turn - 1)
        crops.append(Crop((2 * across - 1) * room[0], (2 * down - 1) * room[1], width, height, angle))
    return crops


def cut(pixels: Tensor, crops: Sequence[Crop], side: int) -> Tensor:
    """Each of the crops of one picture (1, 3, H, W), resampled once: (N, 3, side, side). Edges are continued."""
    height, width = pixels.shape[2:]
    matrices = pixels.new_tensor([crop.matrix(width / height) for crop in crops])
    grid = F.affine_grid(matrices, [len(crops), 3, side, side], align_corners=False)
    largest = max(max(crop.half_width * width, crop.half_height * height) for crop in crops)
    # Where a view is smaller than what it shows, the picture is made smaller first, so that nothing is skipped.
    if largest > 2 * side:
        shrunk = (max(1, round(height * side / largest)), max(1, round(width * side / largest)))
        pixels = F.interpolate(pixels, shrunk, mode="bilinear", antialias=True)
    return F.grid_sample(
        pixels.expand(len(crops), -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
