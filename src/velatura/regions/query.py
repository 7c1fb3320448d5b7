"""Queries that find a mask in a picture, and the syntax for them: box:…, point:…, text:… and so on."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from velatura.errors import SettingError
from velatura.picture import Picture, open_picture
from velatura.regions.masks import Mask, mask_of_image, polygon_mask


class Query(Protocol):
    """A function from a picture to a mask."""

    def __call__(self, picture: Picture) -> Mask:
        """(H, W) in [0, 1] at the picture's size."""
        ...


@dataclass(frozen=True)
class PictureQuery:
    """A mask from a picture file, white inside the region; scaled to the content."""

    path: Path

    def __call__(self, picture: Picture) -> Mask:
        return mask_of_image(open_picture(self.path).image, picture.size)


@dataclass(frozen=True)
class BoxQuery:
    """The object in a box (x0, y0, x1, y1 in pixels), segmented by the module ``cut`` of this package."""

    box: tuple[float, float, float, float]
    cut: str = "grabcut"

    def __call__(self, picture: Picture) -> Mask:
        mask: Mask = _cutter(self.cut).box_mask(picture.image, self.box)
        return mask


@dataclass(frozen=True)
class PolygonQuery:
    """The inside of a polygon (x, y in pixels)."""

    corners: tuple[tuple[float, float], ...]

    def __call__(self, picture: Picture) -> Mask:
        return polygon_mask(picture.size, self.corners)


@dataclass(frozen=True)
class PointQuery:
    """The objects under points (x, y in pixels), segmented by the module ``cut`` of this package."""

    points: tuple[tuple[float, float], ...]
    cut: str = "grabcut"

    def __call__(self, picture: Picture) -> Mask:
        mask: Mask = _cutter(self.cut).points_mask(picture.image, self.points)
        return mask


@dataclass(frozen=True)
class TextQuery:
    """The objects that a text names, segmented by the module ``cut`` of this package."""

    text: str
    cut: str = "clipseg"

    def __call__(self, picture: Picture) -> Mask:
        mask: Mask = _cutter(self.cut).text_mask(picture.image, self.text)
        return mask


@dataclass(frozen=True)
class SegmentQuery:
    """Segments of the whole picture, by the numbers that ``velatura mask --everything`` shows."""

    numbers: tuple[int, ...]

    def __call__(self, picture: Picture) -> Mask:
        from velatura.regions.segments import segments_mask

        return segments_mask(picture.image, self.numbers)


# The queries that each optional segmenter answers; without one, boxes and points go to GrabCut, texts to CLIPSeg.
CUTTERS = {"sam2": ("box", "point"), "fastsam": ("box", "point", "text")}
WHERE = "a mask picture, box:x0,y0,x1,y1, point:x,y, polygon:x,y;x,y;x,y, text:words or segment:number"


def _cutter(name: str) -> Any:
    return import_module(f"velatura.regions.{name}")


def parse_query(text: str) -> Query:
    """Read ``box:x0,y0,x1,y1``, ``point:x,y;x,y``, ``polygon:x,y;x,y;x,y``, ``text:words``, ``segment:1,2``, or else a
    mask picture's path.

    ``sam2:`` or ``fastsam:`` before a box or points, ``fastsam:`` before a text, choose that segmenter.
    Raises SettingError for what cannot be read and for a file that is not there.
    """
    cutter, colon, asked = text.partition(":")
    if not colon or cutter not in CUTTERS:
        cutter, asked = "", text
    kind, colon, rest = asked.partition(":")
    if cutter and kind not in CUTTERS[cutter]:
        raise SettingError(f"'{text}' asks {cutter} for what it cannot find: it finds {', '.join(CUTTERS[cutter])}.")
    if colon and kind == "box":
        x0, y0, x1, y1 = _numbers(rest, 4, text)
        return BoxQuery((x0, y0, x1, y1), cutter or "grabcut")
    if colon and kind in ("point", "polygon"):
        pairs = [_numbers(part, 2, text) for part in rest.split(";")]
        points = tuple((pair[0], pair[1]) for pair in pairs)
        return PointQuery(points, cutter or "grabcut") if kind == "point" else PolygonQuery(points)
    if colon and kind == "text" and rest.strip():
        return TextQuery(rest.strip(), cutter or "clipseg")
    if colon and kind == "segment":
        numbers = _numbers(rest, rest.count(",") + 1, text)
        return SegmentQuery(tuple(int(number) for number in numbers))
    if not Path(text).is_file():
        raise SettingError(f"'{text}' says no region: give {WHERE}.")
    return PictureQuery(Path(text))


def _numbers(text: str, count: int, whole: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise SettingError(f"'{whole}' needs {count} numbers with commas between them.")
    return numbers
