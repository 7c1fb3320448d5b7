"""Random rotated views of a picture for an image encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ANGLE, SHIFT, ASPECT = 15.0, 0.1, 4 / 3  # degrees, share of the side, widest ratio of sides


@dataclass(frozen=True)
class RotatedRectangle:
    """A rotated rectangle: its centre and half sides as shares of width and height in [-1, 1], its angle in radians."""

    x: float
    y: float
    half_width: float
    half_height: float
    angle: float

    def matrix(self, aspect: float) -> list[list[float]]:
        """The affine matrix (2, 3) for ``torch.affine_grid``, for a picture ``aspect`` times as wide as high."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return [
            [self.half_width * cos, -self.half_height * sin / aspect, self.x],
            [self.half_width * sin * aspect, self.half_height * cos, self.y],
        ]


def draw_rectangles(count: int, area: tuple[float, float], generator: torch.Generator) -> list[RotatedRectangle]:
    """Random rectangles of ``area`` (least, most) share of the picture, of sides up to 4:3, turned by up to 15 degrees.

    Up to a tenth of their side lies outside the picture.
    """
    rectangles = []
    for share, ratio, across, down, turn in torch.rand(count, 5, generator=generator).tolist():
        side = math.sqrt(area[0] + (area[1] - area[0]) * share)
        stretch = ASPECT ** (ratio - 0.5)
        width, height = min(1.0, side * stretch), min(1.0, side / stretch)
        room = (1 - width + SHIFT * width, 1 - height + SHIFT * height)
        angle = math.radians(ANGLE) * (2 * turn - 1)
        x, y = (2 * across - 1) * room[0], (2 * down - 1) * room[1]
        rectangles.append(RotatedRectangle(x, y, width, height, angle))
    return rectangles


def resample(pixels: Tensor, rectangles: Sequence[RotatedRectangle], side: int) -> Tensor:
    """Each rectangle of one picture (1, 3, H, W), resampled bilinearly: (N, 3, side, side). Edges are continued."""
    height, width = pixels.shape[2:]
    matrices = pixels.new_tensor([rectangle.matrix(width / height) for rectangle in rectangles])
    grid = F.affine_grid(matrices, [len(rectangles), 3, side, side], align_corners=False)
    largest = max(max(each.half_width * width, each.half_height * height) for each in rectangles)
    # Where a view has fewer pixels than its rectangle, the picture is made smaller first, to avoid aliasing.
    if largest > 2 * side:
        shrunk = (max(1, round(height * side / largest)), max(1, round(width * side / largest)))
        pixels = F.interpolate(pixels, shrunk, mode="bilinear", antialias=True)
    return F.grid_sample(
        pixels.expand(len(rectangles), -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
