"""A region: a style, where it goes, how much of it, and in which part of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from velatura.errors import SettingError
from velatura.picture import Picture
from velatura.regions.masks import Mask
from velatura.regions.query import Query, mask_digest, query_text
from velatura.span import WHOLE_RUN, Span
from velatura.style import Style
from velatura.style.source import style_source


@dataclass(frozen=True)
class Region:
    """``style`` in the mask that ``query`` finds (None: everywhere), during ``span``.

    ``weight`` (0..1) is how much of the result is laid over the content there, in pixels.
    """

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
        """(H, W) in [0, 1] at the content's size, whatever the weight. Raises what the query raises."""
        if self.query is None:
            return np.ones(content.size[::-1], np.float32)
        return np.asarray(self.query(content), dtype=np.float32)

    def description(self) -> Mapping[str, Any]:
        """The region as a manifest lists it."""
        return {
            "style": self.style.name,
            "style_sha256": self.style.card.get("sha256", ""),
            "style_identity": self.style.identity,
            "source": style_source(self.style),
            "where": "everywhere" if self.query is None else query_text(self.query),
            **({"where_sha256": digest} if (digest := mask_digest(self.query)) else {}),
            "weight": self.weight,
            "span": [self.span.start, self.span.end],
        }
