"""What the stroke network learns from: what the fast UNet painted of photos, beside the photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from velatura.losses.strokes import StyleMeasures
from velatura.methods.base import WorkingPicture
from velatura.models.house.fast_painter import PaintedStyle
from velatura.picture import Picture
from velatura.regions import Placement, Region
from velatura.style import Style

# A content in its style's colours, and what the fast UNet paints of it, both (1, 3, H, W).
PaintBeforeStrokes = Callable[[WorkingPicture, Sequence[PaintedStyle]], tuple[Tensor, Tensor]]


class Painted(NamedTuple):
    """A content in its style's colours and what the fast UNet painted of it (``given``), both as bytes (3, H, W), the
    standardised style vector (100,), and what is wanted of the style.
    """

    content: Tensor
    given: Tensor
    vector: Tensor
    style: StyleMeasures


class PaintedRows(NamedTuple):
    """A batch: ``contents`` and ``given`` (B, 3, H, W) in [-1, 1], ``vectors`` (B, 100) and the styles' measures."""

    contents: Tensor
    given: Tensor
    vectors: Tensor
    styles: list[StyleMeasures]


@torch.no_grad()
def painted_of(
    content: Picture, style: Style, painted: PaintedStyle, wanted: StyleMeasures, paint: PaintBeforeStrokes
) -> Painted:
    """A content as ``paint`` paints it, at its own size."""
    working = WorkingPicture(content, content.size, Placement.of([Region(style)], content))
    start, given = paint(working, [painted])
    return Painted(_bytes(start), _bytes(given), painted.vector[0], wanted)


def joined(pictures: Sequence[Painted]) -> PaintedRows:
    """Pictures as a batch."""
    contents = torch.stack([picture.content for picture in pictures]).float() / 127.5 - 1
    given = torch.stack([picture.given for picture in pictures]).float() / 127.5 - 1
    vectors = torch.stack([picture.vector for picture in pictures])
    return PaintedRows(contents, given, vectors, [picture.style for picture in pictures])


def _bytes(pixels: Tensor) -> Tensor:
    return ((pixels[0].clamp(-1, 1) + 1) * 127.5).round().byte()
