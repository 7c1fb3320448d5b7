"""Regions placed in one content: their masks, computed once, and what each covers of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from velatura.picture import Picture
from velatura.regions.masks import Mask, feathered, image_of_mask
from velatura.regions.masks import over as paste_over
from velatura.regions.region import Region


@dataclass(frozen=True, eq=False)
class Placement:
    """Regions and their masks (H, W) at the content's size; later regions lie over earlier ones."""

    regions: tuple[Region, ...]
    masks: tuple[Mask, ...]

    @staticmethod
    def of(regions: Sequence[Region], content: Picture, feather: float = 0.0) -> Placement:
        """The masks of ``regions`` in a content, softened over ``feather`` pixels. Raises what the queries raise."""
        masks = tuple(feathered(region.mask(content), feather) for region in regions)
        return Placement(tuple(regions), masks)

    @property
    def is_whole(self) -> bool:
        """Whether one region covers everything."""
        return len(self.masks) == 1 and bool((self.masks[0] == 1).all())

    def covers(self) -> list[Mask]:
        """What each region covers when later ones lie over it, (H, W); together at most 1."""
        return layered(self.masks)

    def union(self) -> Mask:
        """What all regions cover together, (H, W) in 0..1."""
        union: Mask = np.minimum(1, np.sum(self.covers(), axis=0))
        return union

    def acting(self, progress: float) -> list[int]:
        """The indices of the regions whose span contains ``progress`` (0 to below 1)."""
        return [index for index, region in enumerate(self.regions) if region.span.contains(progress)]

    def shares(self, grid: tuple[int, int], acting: Sequence[int] | None = None) -> Tensor:
        """Each region's share (K, 1, h, w) of the cells of a latent ``grid`` (h, w), by area averaging.

        With ``acting``, regions of other indices cover nothing.
        """
        masks: Sequence[Mask] = self.masks
        if acting is not None and len(acting) < len(masks):
            masks = [mask * np.float32(index in acting) for index, mask in enumerate(masks)]
        return F.interpolate(torch.from_numpy(np.stack(layered(masks)))[:, None], grid, mode="area")

    def paste(self, stylized: Image.Image, content: Image.Image) -> Image.Image:
        """The stylised picture over the content, by the union of the masks; elsewhere the content's own bytes."""
        return paste_over(stylized, content, self.union())

    def layers(self) -> dict[str, Image.Image]:
        """The masks as gray pictures, by name."""
        return {f"mask{index}": image_of_mask(mask) for index, mask in enumerate(self.masks)}


def layered(masks: Sequence[Mask]) -> list[Mask]:
    """What each mask covers when later ones lie over earlier ones; together at most 1."""
    covers: list[Mask] = []
    uncovered = np.ones_like(masks[0])
    for mask in reversed(masks):
        covers.append(mask * uncovered)
        uncovered = uncovered * (1 - mask)
    return covers[::-1]
