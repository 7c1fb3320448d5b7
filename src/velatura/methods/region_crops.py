"""The parts of a picture that regions are worked on in: their padded boxes, so that the model sees them large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from velatura.picture import Picture
from velatura.regions import Placement
from velatura.regions.masks import Mask
from velatura.regions.placement import REACH

MARGIN = 0.25  # of a box's longer side, on each side: what the model sees around a region
LONGEST = 2.0  # the longer side of a crop over the shorter, where the picture allows
MOST = 0.6  # share of the picture from which a crop is not worth it

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are outside


@dataclass(frozen=True)
class Crop:
    """A part of a picture, and the indices of the regions in it."""

    box: Box
    regions: tuple[int, ...]

    def of(self, content: Picture) -> Picture:
        """The part of a content, as a picture of its own."""
        return Picture.of(content.image.crop(self.box), content.name)

    def part_of(self, content: Picture) -> tuple[float, float, float, float]:
        """The box in shares of the content's sides."""
        (left, top, right, bottom), (width, height) = self.box, content.size
        return left / width, top / height, right / width, bottom / height


def crops_of(placement: Placement, least: int) -> list[Crop]:
    """The crops in which a content's regions are worked on; none where they are worked on in the whole picture.

    A crop is a region's box with a margin of a quarter of its longer side, at least ``least`` pixels on each side and
    at most twice as long as wide, as far as the picture goes. Crops that overlap become one; one of more than 0.6 of
    the picture is the whole. What nothing shows of has no crop.
    """
    height, width = placement.masks[0].shape
    crops = [
        Crop(padded(box, (width, height), least), (index,))
        for index, cover in enumerate(placement.covers())
        if (box := box_of(cover)) is not None
    ]
    crops = _apart(crops)
    if any(_area(crop.box) > MOST * width * height for crop in crops):
        return []
    return crops


def box_of(cover: Mask) -> Box | None:
    """The smallest box around what shows of a mask (H, W); None where nothing does."""
    shown = cover > REACH
    rows, columns = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def padded(box: Box, size: tuple[int, int], least: int) -> Box:
    """A box with its margin in a picture of ``size`` (width, height), moved inwards where that ends."""
    sides = (box[2] - box[0], box[3] - box[1])
    margin = MARGIN * max(sides)
    longest = max(sides) + 2 * margin
    spans = [
        _span(box[axis], box[axis + 2], max(sides[axis] + 2 * margin, longest / LONGEST, least), size[axis])
        for axis in (0, 1)
    ]
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def inserted(content: Image.Image, crops: Sequence[Crop], pictures: Sequence[Image.Image]) -> Image.Image:
    """A copy of the content with each crop's picture, of the crop's size, in its place."""
    whole = content.convert("RGB")
    for crop, picture in zip(crops, pictures, strict=True):
        whole.paste(picture, crop.box[:2])
    return whole


def _span(start: int, end: int, length: float, side: int) -> tuple[int, int]:
    """From where to where ``length`` pixels go about the middle of ``start`` and ``end``, within ``side``."""
    wide = min(side, max(end - start, round(length)))
    first = min(max(0, (start + end - wide) // 2), side - wide)
    return first, first + wide


def _apart(crops: Sequence[Crop]) -> list[Crop]:
    """The crops with those that overlap made one, until none does."""
    apart: list[Crop] = []
    for crop in crops:
        while touching := [other for other in apart if _overlap(crop.box, other.box)]:
            apart = [other for other in apart if other not in touching]
            for other in touching:
                crop = Crop(_around(crop.box, other.box), tuple(sorted(crop.regions + other.regions)))
        apart.append(crop)
    return apart


def _overlap(one: Box, other: Box) -> bool:
    return all(max(one[axis], other[axis]) < min(one[axis + 2], other[axis + 2]) for axis in (0, 1))


def _around(one: Box, other: Box) -> Box:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
