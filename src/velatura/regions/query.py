"""Queries that find a mask in a picture, and the syntax for them: box:…, point:…, text:…, not:… and so on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from velatura.errors import SettingError
from velatura.picture import Picture, open_picture
from velatura.picture.mask import mask_levels
from velatura.picture.reading import MAX_BYTES
from velatura.picture.regular_file import read_regular
from velatura.regions.masks import Mask, mask_of_image, polygon_mask

Point = tuple[float, float]


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
        return mask_of_image(mask_levels(open_picture(self.path)), picture.size)

    def __str__(self) -> str:
        # No folder of the user's goes into manifests.
        return self.path.name if self.path.is_absolute() else self.path.as_posix()


@dataclass(frozen=True, eq=False)
class ImageQuery:
    """A mask from a picture in memory, white inside the region; scaled to the content."""

    image: Image.Image

    def __call__(self, picture: Picture) -> Mask:
        return mask_of_image(mask_levels(Picture.of(self.image, "mask")), picture.size)

    def __str__(self) -> str:
        return "a mask in memory"


@dataclass(frozen=True)
class BoxQuery:
    """The object in a box (x0, y0, x1, y1 in pixels), segmented by the module ``cut`` of this package."""

    box: tuple[float, float, float, float]
    cut: str = "grabcut"

    def __call__(self, picture: Picture) -> Mask:
        mask: Mask = _cutter(self.cut).box_mask(picture.image, self.box)
        return mask

    def __str__(self) -> str:
        return f"{_prefix(self.cut)}box:{_joined(self.box)}"


@dataclass(frozen=True)
class PolygonQuery:
    """The inside of a polygon (x, y in pixels)."""

    corners: tuple[Point, ...]

    def __call__(self, picture: Picture) -> Mask:
        return polygon_mask(picture.size, self.corners)

    def __str__(self) -> str:
        return f"polygon:{';'.join(map(_joined, self.corners))}"


@dataclass(frozen=True)
class PointQuery:
    """The objects under ``points`` (x, y in pixels), and not what is under ``others``, segmented by the module ``cut``
    of this package.
    """

    points: tuple[Point, ...]
    others: tuple[Point, ...] = ()
    cut: str = "grabcut"

    def __call__(self, picture: Picture) -> Mask:
        mask: Mask = _cutter(self.cut).points_mask(picture.image, self.points, self.others)
        return mask

    def __str__(self) -> str:
        places = [*map(_joined, self.points), *(f"{NOT}{_joined(point)}" for point in self.others)]
        return f"{_prefix(self.cut)}point:{';'.join(places)}"


@dataclass(frozen=True)
class TextQuery:
    """The objects that a text names, segmented by the module ``cut`` of this package."""

    text: str
    cut: str = "clipseg"

    def __call__(self, picture: Picture) -> Mask:
        mask: Mask = _cutter(self.cut).text_mask(picture.image, self.text)
        return mask

    def __str__(self) -> str:
        return f"{_prefix(self.cut)}text:{self.text}"


@dataclass(frozen=True)
class SegmentQuery:
    """Segments of the whole picture, by the numbers that ``velatura mask --everything`` shows."""

    numbers: tuple[int, ...]

    def __call__(self, picture: Picture) -> Mask:
        from velatura.regions.segments import segments_mask

        return segments_mask(picture.image, self.numbers)

    def __str__(self) -> str:
        return f"segment:{_joined(self.numbers)}"


@dataclass(frozen=True)
class NotQuery:
    """Everything but what another query finds."""

    query: Query

    def __call__(self, picture: Picture) -> Mask:
        return 1 - self.query(picture)

    def __str__(self) -> str:
        return f"{NOT}{query_text(self.query)}"


# The queries that each optional segmenter answers; without one, boxes and points go to GrabCut, texts to CLIPSeg.
CUTTERS = {"sam2": ("box", "point"), "fastsam": ("box", "point", "text")}
NOT = "not:"  # before a point that is not in it, or before a query for everything else
MOST_PIXELS = 1_000_000  # of a coordinate
WHERE = (
    "a mask picture, box:x0,y0,x1,y1, point:x,y, polygon:x,y;x,y;x,y, text:words or segment:number, with not: before "
    "it for everything else"
)


def _cutter(name: str) -> Any:
    return import_module(f"velatura.regions.{name}")


def query_text(query: Query) -> str:
    """A query as a manifest names it; one of another's making by its name."""
    name = getattr(query, "__name__", "")
    text = name or str(query)
    return type(query).__name__ if " at 0x" in text else text


def mask_digest(query: Query | None) -> str:
    """The SHA-256 of the mask picture's file that a query names, also after ``not:``; empty for other queries."""
    if isinstance(query, NotQuery):
        return mask_digest(query.query)
    if not isinstance(query, PictureQuery):
        return ""
    return hashlib.sha256(read_regular(query.path, MAX_BYTES)).hexdigest()


def parse_query(text: str) -> Query:
    """Read ``box:x0,y0,x1,y1``, ``point:x,y;x,y;not:x,y``, ``polygon:x,y;x,y;x,y``, ``text:words``, ``segment:1,2``, or
    else a mask picture's path; ``not:`` before any of them is everything else.

    ``sam2:`` or ``fastsam:`` before a box or points, ``fastsam:`` before a text, choose that segmenter.
    Raises SettingError for what cannot be read and for a file that is not there.
    """
    if text.startswith(NOT):
        return NotQuery(parse_query(text.removeprefix(NOT)))
    cutter, colon, asked = text.partition(":")
    if not colon or cutter not in CUTTERS:
        cutter, asked = "", text
    kind, colon, rest = asked.partition(":")
    if cutter and kind not in CUTTERS[cutter]:
        raise SettingError(f"'{text}' asks {cutter} for what it cannot find: it finds {', '.join(CUTTERS[cutter])}.")
    if colon and kind in KINDS and rest.strip():
        return KINDS[kind](rest.strip(), cutter, text)
    if not Path(text).is_file():
        raise SettingError(f"'{text}' says no region: give {WHERE}.")
    return PictureQuery(Path(text))


def _box(rest: str, cutter: str, whole: str) -> Query:
    x0, y0, x1, y1 = _numbers(rest, 4, whole)
    return BoxQuery((x0, y0, x1, y1), cutter or "grabcut")


def _point(rest: str, cutter: str, whole: str) -> Query:
    places = [place.strip() for place in rest.split(";")]
    inside = _pairs([place for place in places if not place.startswith(NOT)], whole)
    outside = _pairs([place.removeprefix(NOT) for place in places if place.startswith(NOT)], whole)
    if not inside:
        raise SettingError(f"'{whole}' names only points that are not in it: give one that is, point:x,y;not:x,y.")
    return PointQuery(inside, outside, cutter or "grabcut")


def _polygon(rest: str, _cutter: str, whole: str) -> Query:
    return PolygonQuery(_pairs(rest.split(";"), whole))


def _text(rest: str, cutter: str, _whole: str) -> Query:
    return TextQuery(rest, cutter or "clipseg")


def _segment(rest: str, _cutter: str, whole: str) -> Query:
    numbers = _numbers(rest, rest.count(",") + 1, whole)
    if any(number != int(number) for number in numbers):
        raise SettingError(f"'{whole}' must name segments by whole numbers.")
    return SegmentQuery(tuple(int(number) for number in numbers))


KINDS: Mapping[str, Callable[[str, str, str], Query]] = {
    "box": _box,
    "point": _point,
    "polygon": _polygon,
    "text": _text,
    "segment": _segment,
}


def _pairs(places: Sequence[str], whole: str) -> tuple[Point, ...]:
    try:
        pairs = [_numbers(place, 2, whole) for place in places]
    except SettingError:
        raise SettingError(
            f"'{whole}' needs 2 numbers for each point, of at most {MOST_PIXELS:,}, with a comma between them, and "
            "semicolons between the points, as 10,10;200,40;90,180."
        ) from None
    return tuple((pair[0], pair[1]) for pair in pairs)


def _joined(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:.10g}" for number in numbers)


def _prefix(cut: str) -> str:
    return f"{cut}:" if cut in CUTTERS else ""


def _numbers(text: str, count: int, whole: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(abs(number) <= MOST_PIXELS for number in numbers):
        raise SettingError(f"'{whole}' needs {count} numbers, of at most {MOST_PIXELS:,}, with commas between them.")
    return numbers
