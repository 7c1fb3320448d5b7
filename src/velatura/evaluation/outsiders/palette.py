"""Colour transport alone: what of a style is its palette."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from velatura.evaluation.outsiders.base import Outsider
from velatura.picture.palette import palette_of, transport_palette


@dataclass(frozen=True)
class PaletteTransport(Outsider):
    """The content in the style's colours: quantiles of luminance, optimal transport of chroma; no texture."""

    name: ClassVar[str] = "palette"

    def stylize(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The content in the style's palette."""
        return transport_palette(content, palette_of(style), 1.0)
