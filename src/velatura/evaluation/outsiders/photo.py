"""The photo as it is: the upper end of every measure of content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from velatura.evaluation.outsiders.base import Outsider


@dataclass(frozen=True)
class Photo(Outsider):
    """The content itself."""

    name: ClassVar[str] = "photo"

    def stylize(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The content."""
        return content
