"""A region: a style, where it goes, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.errors import SettingError
from velatura.picture import Picture
from velatura.regions.masks import Mask
from velatura.regions.query import Query
from velatura.style import Style


@dataclass(frozen=True)
class Region:
    """``style`` where ``query`` says (None: everywhere), with ``weight`` in 0..1.

    ``span`` (from, to) is the part of the denoising, in 0..1, in which the region acts (temporal composition).
    """

    style: Style
    query: Query | None = None
    weight: float = 1.0
    span: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.span[0] < self.span[1] <= 1:
            raise SettingError(f"A region's span must lie in 0-1 and rise, not {self.span[0]:g}-{self.span[1]:g}.")
        if not 0 <= self.weight <= 1:
            raise SettingError(f"A region's weight must be from 0 to 1, not {self.weight:g}.")

    def acts_at(self, passed: float) -> bool:
        """Whether the region acts when ``passed`` (0..1) of the steps are done."""
        return self.span[0] <= passed < self.span[1]

    def mask(self, content: Picture) -> Mask:
        """(H, W) in [0, weight] at the content's size. Raises what the query raises."""
        if self.query is None:
            return np.full(content.size[::-1], self.weight, np.float32)
        return self.query(content) * np.float32(self.weight)


def whole_style(regions: Sequence[Region], method: str) -> Style:
    """The style of the one region that covers everything. Raises SettingError for any others."""
    if len(regions) != 1 or regions[0].query is not None:
        raise SettingError(f"The method {method} has no regions yet: use --method diffstyler or guided for them.")
    return regions[0].style


def layered(masks: Sequence[Mask]) -> list[Mask]:
    """What each mask covers when later ones lie over earlier ones; together at most 1, the rest is background."""
    shares: list[Mask] = []
    uncovered = np.ones_like(masks[0])
    for mask in reversed(masks):
        shares.append(mask * uncovered)
        uncovered = uncovered * (1 - mask)
    return shares[::-1]


def latent_shares(masks: Sequence[Mask], grid: tuple[int, int]) -> Tensor:
    """Layered masks (K, 1, h, w) on a latent ``grid`` (h, w), by area averaging."""
    stacked = torch.from_numpy(np.stack(layered(masks)))[:, None]
    return F.interpolate(stacked, grid, mode="area")


def described(regions: Sequence[Region]) -> list[Mapping[str, Any]]:
    """Regions as a manifest tells them."""
    return [
        {
            "style": region.style.name,
            "where": str(region.query) if region.query else "everywhere",
            "weight": region.weight,
        }
        for region in regions
    ]
