"""A region: a style, where it goes, how much of it, and in which part of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from velatura.errors import SettingError
from velatura.picture import Picture
from velatura.regions.masks import Mask
from velatura.regions.query import Query
from velatura.span import WHOLE_RUN, Span
from velatura.style import Style


@dataclass(frozen=True)
class Region:
    """``style`` in the mask that ``query`` finds (None: everywhere), with ``weight`` in 0..1, during ``span``."""

    style: Style
    query: Query | None = None
    weight: float = 1.0
    span: Span = WHOLE_RUN

    def __post_init__(self) -> None:
        self.span.check("a region")
        if not 0 <= self.weight <= 1:
            raise SettingError(f"A region's weight must be from 0 to 1, not {self.weight:g}.")

    @property
    def is_whole(self) -> bool:
        """Whether the region is the whole picture at full weight."""
        return self.query is None and self.weight == 1

    def mask(self, content: Picture) -> Mask:
        """(H, W) in [0, weight] at the content's size. Raises what the query raises."""
        if self.query is None:
            return np.full(content.size[::-1], self.weight, np.float32)
        return self.query(content) * np.float32(self.weight)

    def description(self) -> Mapping[str, Any]:
        """The region as a manifest lists it."""
        where = str(self.query) if self.query else "everywhere"
        return {"style": self.style.name, "where": where, "weight": self.weight}
