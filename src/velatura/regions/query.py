"""What a user writes to say where: a picture's path, box:…, point:…, text:…"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from velatura.errors import SettingError
from velatura.picture import Picture, open_picture
from velatura.regions.classical import box_mask, points_mask
from velatura.regions.masks import Mask, feathered, grown, mask_of_image


class Query(Protocol):
    """Anything that finds a mask in a picture."""

    def __call__(self, picture: Picture) -> Mask:
        """(H, W) in [0, 1] at the picture's size."""
        ...


@dataclass(frozen=True)
class PictureQuery:
    """A mask drawn by somebody: white is the region; scaled to the content."""

    path: Path

    def __call__(self, picture: Picture) -> Mask:
        return mask_of_image(open_picture(self.path).image, picture.size)


@dataclass(frozen=True)
class BoxQuery:
    """What stands inside a box."""

    box: tuple[float, float, float, float]

    def __call__(self, picture: Picture) -> Mask:
        return box_mask(picture.image, self.box)


@dataclass(frozen=True)
class PointQuery:
    """What lies under points."""

    points: tuple[tuple[float, float], ...]

    def __call__(self, picture: Picture) -> Mask:
        return points_mask(picture.image, self.points)


@dataclass(frozen=True)
class TextQuery:
    """What words name."""

    text: str

    def __call__(self, picture: Picture) -> Mask:
        from velatura.regions.words import text_mask

        return text_mask(picture.image, self.text)


@dataclass(frozen=True)
class Softened:
    """Another query's mask, grown by pixels and feathered."""

    query: Query
    grow: int = 0
    feather: float = 0.0

    def __call__(self, picture: Picture) -> Mask:
        return feathered(grown(self.query(picture), self.grow), self.feather)


def parse_query(text: str) -> Query:
    """``box:x0,y0,x1,y1``, ``point:x,y`` (more after ``;``), ``text:words``, else a mask picture's path.

    Raises SettingError for numbers that cannot be read and for a file that is not there.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind == "box":
        numbers = _numbers(rest, 4, text)
        return BoxQuery((numbers[0], numbers[1], numbers[2], numbers[3]))
    if colon and kind == "point":
        pairs = [_numbers(part, 2, text) for part in rest.split(";")]
        return PointQuery(tuple((pair[0], pair[1]) for pair in pairs))
    if colon and kind == "text" and rest.strip():
        return TextQuery(rest.strip())
    if not Path(text).is_file():
        raise SettingError(f"'{text}' says no region: give a mask picture, box:x0,y0,x1,y1, point:x,y or text:words.")
    return PictureQuery(Path(text))


def _numbers(text: str, count: int, whole: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise SettingError(f"'{whole}' needs {count} numbers with commas between them.")
    return numbers
