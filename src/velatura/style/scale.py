"""A style picture whose strokes and shapes are larger or smaller than they are."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from velatura.errors import StyleError
from velatura.picture import image_to_pixels, pixels_to_image
from velatura.picture.palette import Palette, palette_of, transport_palette
from velatura.picture.sizing import MIN_SIDE

PLACES = 5  # positions along each side that a crop is looked for at
LOOK = 160  # pixels of the short side at which crops are compared
Box = tuple[int, int, int, int]


def scaled_style(image: Image.Image, mask: Image.Image | None, scale: float) -> tuple[Image.Image, Image.Image | None]:
    """A style picture and its mask at their own sizes, with everything in them ``scale`` times as large.

    Over 1 it is the crop of 1/scale of each side whose palette is most like the whole picture's, enlarged and brought
    to that palette; under 1 the picture is repeated, mirrored at its edges. The ``mask``, of the same size, says what
    counts. Raises StyleError for a picture that is too small to be cut so.
    """
    if scale == 1:
        return image, mask
    if scale < 1:
        return _repeated(image, scale), None if mask is None else _repeated(mask, scale)
    if min(image.size) < scale * MIN_SIDE:
        raise StyleError(
            f"The style picture has only {min(image.size)} pixels on its short side, too few for style scale "
            f"{scale:g}: give one of {round(scale * MIN_SIDE)} pixels or more, or a smaller scale."
        )
    box, whole = _likeliest_crop(image, mask, scale)
    cut = image_to_pixels(image.resize(image.size, Image.Resampling.LANCZOS, box))
    counted = None if mask is None else mask.resize(mask.size, Image.Resampling.BILINEAR, box)
    return pixels_to_image(transport_palette(cut, whole, 1.0, _weights(counted, cut))), counted


def _repeated(image: Image.Image, scale: float) -> Image.Image:
    """The image shrunk by ``scale`` and mirrored at its edges until it has its own size again, itself in the middle."""
    width, height = image.size
    small = np.asarray(image.resize((max(1, round(width * scale)), max(1, round(height * scale)))))
    margins = [(side - had, had) for side, had in zip((height, width), small.shape[:2], strict=True)]
    pads = [(margin // 2, margin - margin // 2) for margin, _ in margins]
    return Image.fromarray(np.pad(small, pads + [(0, 0)] * (small.ndim - 2), mode="symmetric"))


def _likeliest_crop(image: Image.Image, mask: Image.Image | None, scale: float) -> tuple[Box, Palette]:
    """The box of a crop of 1/scale of each side, and the palette of the whole, inside the mask."""
    factor = max(1.0, min(image.size) / LOOK)
    size = (round(image.width / factor), round(image.height / factor))
    pixels = image_to_pixels(image, size)
    weights = _weights(None if mask is None else mask.resize(size), pixels)
    whole = palette_of(pixels, weights)
    height, width = (round(side / scale) for side in pixels.shape[2:])
    best, chosen = float("inf"), (0, 0)
    for row, column in product(range(PLACES), repeat=2):
        top = round((pixels.shape[2] - height) * row / (PLACES - 1))
        left = round((pixels.shape[3] - width) * column / (PLACES - 1))
        area = (..., slice(top, top + height), slice(left, left + width))
        distance = _distance(pixels[area], weights[area], whole)
        if distance < best:
            best, chosen = distance, (row, column)
    if best == float("inf"):
        raise StyleError(
            f"The style mask leaves too little of the picture for style scale {scale:g}: give a smaller scale."
        )
    sides = [round(side / scale) for side in image.size]
    left, top = (round((image.size[axis] - sides[axis]) * chosen[1 - axis] / (PLACES - 1)) for axis in (0, 1))
    return (left, top, left + sides[0], top + sides[1]), whole


def _distance(pixels: Tensor, weights: Tensor, whole: Palette) -> float:
    """How unlike a crop's palette is to that of the whole, in Lab units, and more where less of the crop counts."""
    share = float(weights.mean())
    if share < 0.05:
        return float("inf")
    palette = palette_of(pixels, weights)
    luminance = (palette.luminance - whole.luminance).abs().mean()
    return float(luminance + (palette.chroma - whole.chroma).abs().mean()) + 20 * (1 - share)


def _weights(mask: Image.Image | None, pixels: Tensor) -> Tensor:
    """A gray mask as weights (1, 1, H, W) in 0..1 of pixels; ones without one."""
    if mask is None:
        return torch.ones_like(pixels[:, :1])
    return (image_to_pixels(mask).mean(1, keepdim=True) + 1) / 2
