"""Magenta's arbitrary style transfer: one pass of a small network (Ghiasi et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from velatura.evaluation.outsiders.base import Outsider
from velatura.models.features.magenta import paint_over, style_vectors


@dataclass(frozen=True)
class Magenta(Outsider):
    """Magenta's small networks for phones, on the CPU."""

    name: ClassVar[str] = "magenta"

    @torch.no_grad()
    def stylize(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The content painted by the style's vector."""
        return paint_over(content, style_vectors(style))
