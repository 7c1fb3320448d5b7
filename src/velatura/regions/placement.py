"""Regions placed in one content: their masks, computed once, and what each covers of the others."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from velatura.picture import Picture
from velatura.regions.masks import Mask, feathered, image_of_mask, refined
from velatura.regions.masks import over as paste_over
from velatura.regions.region import Region

REACH = 1 / 512  # what a region covers of a pixel at least, to show in 8 bits


@dataclass(frozen=True, eq=False)
class Placement:
    """Regions and their masks (H, W) at the content's size; later regions lie over earlier ones, soft masks of regions
    that never act together as one: a region in two spans is what it is in one.

    What they cover follows the edges of a ``guide``, the content, within ``refine`` pixels of the masks' own
    (``refined``), and is softened over ``feather`` pixels: of all together, so that neighbours still sum to 1. Soft
    edges and weights act once, where the result is pasted over the content; the latents under a mask, however soft, are
    the style's alone.
    """

    regions: tuple[Region, ...]
    masks: tuple[Mask, ...]
    feather: float = 0.0
    refine: int = 0
    guide: Image.Image | None = None

    @staticmethod
    def of(regions: Sequence[Region], content: Picture, feather: float = 0.0, refine: int = 0) -> Placement:
        """The masks of ``regions`` in a content. Raises what the queries raise."""
        masks = tuple(region.mask(content) for region in regions)
        return Placement(tuple(regions), masks, feather, refine, content.image)

    def cropped(self, box: tuple[int, int, int, int], indices: Sequence[int]) -> Placement:
        """The regions of these ``indices`` in a part of the picture: left, top, right and bottom in pixels."""
        left, top, right, bottom = box
        masks = tuple(self.masks[index][top:bottom, left:right] for index in indices)
        guide = None if self.guide is None else self.guide.crop(box)
        return replace(self, regions=tuple(self.regions[index] for index in indices), masks=masks, guide=guide)

    @property
    def is_whole(self) -> bool:
        """Whether one region covers everything."""
        return len(self.masks) == 1 and bool((self.masks[0] == 1).all())

    @cached_property
    def empty(self) -> list[Region]:
        """The regions whose masks show nowhere, in 8 bits."""
        return [region for region, mask in zip(self.regions, self.masks, strict=True) if mask.max() <= REACH]

    @cached_property
    def is_empty(self) -> bool:
        """Whether all regions together show nowhere, so that the picture is the content."""
        return float(np.sum(self.masks, axis=0).max()) <= REACH

    def covers(self, acting: Sequence[int] | None = None) -> list[Mask]:
        """What each region covers when later ones lie over it, (H, W); together at most 1.

        With ``acting``, regions of other indices cover nothing.
        """
        if acting is None:
            return list(self._covers)
        return self._softened(layered([mask * np.float32(index in acting) for index, mask in enumerate(self.masks)]))

    @cached_property
    def _covers(self) -> list[Mask]:
        # Between two starts regions only end, which covers less.
        moments = {tuple(self.acting(region.span.start)) for region in self.regions}
        return self._softened(layered(self.masks) if len(moments) == 1 else layered_over_time(self.masks, moments))

    def _softened(self, covers: list[Mask]) -> list[Mask]:
        if self.refine and self.guide is not None:
            covers = refined(covers, self.guide, self.refine)
        return [feathered(cover, self.feather) for cover in covers]

    def parts(self) -> list[Mask]:
        """Each region's part of what all cover, (H, W): 1 where it is alone, however soft its mask; 0 beyond reach."""
        covers = self.covers()
        total = np.sum(covers, axis=0)
        return [np.divide(cover, total, out=np.zeros_like(cover), where=total > REACH) for cover in covers]

    def union(self) -> Mask:
        """How much of the result is pasted over the content, (H, W) in 0..1: covers times weights."""
        weighted = [cover * np.float32(each.weight) for cover, each in zip(self.covers(), self.regions, strict=True)]
        union: Mask = np.minimum(1, np.sum(weighted, axis=0))
        return union

    def acting(self, progress: float) -> list[int]:
        """The indices of the regions whose span contains ``progress`` (0 to below 1)."""
        return [index for index, region in enumerate(self.regions) if region.span.contains(progress)]

    def shares(self, grid: tuple[int, int], acting: Sequence[int] | None = None) -> Tensor:
        """Each region's share (K, 1, h, w) of the cells of a latent ``grid`` (h, w), by area averaging of the covers.

        All regions' shares of a cell that any of them reaches sum to 1. With ``acting``, regions of other indices have
        no share, and the shares of the others can sum to less.
        """
        total = _sum(self.covers())
        shown = total > REACH
        cells = F.interpolate(torch.stack([total * shown, shown.to(total)])[:, None], grid, mode="area")
        own = torch.from_numpy(np.stack(self.covers(acting)))[:, None] * shown
        shares = F.interpolate(own, grid, mode="area") / cells[0].clamp(min=1e-12)
        return shares.clamp(max=1) * (cells[1] > 0)

    def reached(self, grid: tuple[int, int]) -> Tensor:
        """1 in the cells (1, 1, h, w) of a latent ``grid`` that any region reaches, else 0."""
        shown = (_sum(self.covers()) > REACH).float()
        return (F.interpolate(shown[None, None], grid, mode="area") > 0).float()

    def paste(self, stylized: Image.Image, content: Image.Image) -> Image.Image:
        """The stylised picture over the content, by the union of the masks; elsewhere the content's own bytes."""
        return paste_over(stylized, content, self.union())

    def layers(self) -> dict[str, Image.Image]:
        """What each region covers, as gray pictures by name."""
        return {f"mask{index}": image_of_mask(cover) for index, cover in enumerate(self.covers())}

    def description(self) -> list[dict[str, Any]]:
        """The regions as a manifest lists them, each with a hash of its mask."""
        return [
            {**region.description(), "mask_sha256": hashlib.sha256(np.ascontiguousarray(mask).tobytes()).hexdigest()}
            for region, mask in zip(self.regions, self.masks, strict=True)
        ]


def layered(masks: Sequence[Mask]) -> list[Mask]:
    """What each mask covers when later ones lie over earlier ones; together at most 1."""
    covers: list[Mask] = []
    uncovered = np.ones_like(masks[0])
    for mask in reversed(masks):
        covers.append(mask * uncovered)
        uncovered = uncovered * (1 - mask)
    return covers[::-1]


def layered_over_time(masks: Sequence[Mask], moments: Collection[tuple[int, ...]]) -> list[Mask]:
    """What each mask covers when only those of the indices in a moment lie over one another, and the sum of all is what
    the fullest of the ``moments`` covers.
    """
    covers: list[Mask] = []
    # In double precision 1 - (1 - mask) is the mask, bit by bit: a region in two spans covers what it does in one.
    least = np.ones(masks[0].shape)
    uncovered = dict.fromkeys(moments, least)
    for index in reversed(range(len(masks))):
        mask = masks[index].astype(np.float64)
        uncovered = {moment: left * (1 - mask * (index in moment)) for moment, left in uncovered.items()}
        now = np.minimum.reduce(list(uncovered.values()))
        covers.append((least - now).astype(np.float32))
        least = now
    return covers[::-1]


def _sum(masks: Sequence[Mask]) -> Tensor:
    return torch.from_numpy(np.sum(masks, axis=0, dtype=np.float32))
