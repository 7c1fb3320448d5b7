"""What a benchmark is to do: pairs of content and style, and who stylises them with which settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from velatura.errors import PictureError
from velatura.evaluation.stylizer import Stylizer
from velatura.picture import Picture, image_to_pixels, open_picture, plan_size

MULTIPLE = 8  # of pixels: what sides are rounded to


@dataclass(frozen=True, eq=False)
class Sample:
    """A content or a style at the size that it is worked on and measured at; ``digest`` is that of its file."""

    name: str
    digest: str
    image: Image.Image

    def pixels(self) -> Tensor:
        """(1, 3, H, W) in [-1, 1]: a new tensor, with which go the features that measures keep of it."""
        return image_to_pixels(self.image)


@dataclass(frozen=True, eq=False)
class Pair:
    """A content and a style; ``name`` is that of their results. ``mask`` (1, 1, H, W), at the content's size, is where
    they are measured; None: everywhere.
    """

    content: Sample
    style: Sample
    mask: Tensor | None = None

    @property
    def name(self) -> str:
        """CONTENT_STYLE."""
        return f"{self.content.name}_{self.style.name}"

    def opened(self) -> OpenPair:
        """The pair with its pixels."""
        return OpenPair(self)


@dataclass(frozen=True, eq=False)
class OpenPair:
    """A pair while it is worked on: pixels are made when they are asked for, and go with this object."""

    pair: Pair

    @cached_property
    def content(self) -> Tensor:
        """The content's pixels (1, 3, H, W) in [-1, 1]."""
        return self.pair.content.pixels()

    @cached_property
    def style(self) -> Tensor:
        """The style's pixels (1, 3, H, W) in [-1, 1]."""
        return self.pair.style.pixels()


@dataclass(frozen=True, eq=False)
class Entry:
    """Somebody who stylises: ``label`` is the name in tables; ``strength`` is None for what has none or its own."""

    label: str
    stylizer: Stylizer
    strength: float | None = None

    @property
    def name(self) -> str:
        """The label, with the strength where one was asked for: a folder's name."""
        return self.label if self.strength is None else f"{self.label}-wt_{self.strength:g}"

    def description(self, seed: int, side: int) -> dict[str, Any]:
        """What the entry's pictures depend on beside content and style, as JSON holds it."""
        told = {
            "method": self.stylizer.name,
            "settings": dict(self.stylizer.settings),
            "strength": self.strength,
            "seed": seed,
            "size": side,
        }
        plain: dict[str, Any] = json.loads(json.dumps(told, default=str))
        return plain


@dataclass(frozen=True, eq=False)
class Plan:
    """Every pair by every entry, with a short ``side`` in pixels and a ``seed``; ``model`` names its weights."""

    pairs: Sequence[Pair]
    entries: Sequence[Entry]
    side: int
    seed: int = 0
    model: str = ""


def samples(pictures: Iterable[Picture], side: int) -> list[Sample]:
    """Pictures at a short side of ``side`` pixels, with names of their own."""
    opened = list(pictures)
    names = unique_names([picture.name for picture in opened])
    return [
        Sample(
            name,
            picture.digest,
            picture.image.resize(plan_size(picture.size, side, MULTIPLE).working, Image.Resampling.LANCZOS),
        )
        for name, picture in zip(names, opened, strict=True)
    ]


def opened_samples(files: Iterable[Path], side: int) -> list[Sample]:
    """``samples`` of files, of which only one is open at a time. Raises PictureError for one that cannot be read."""
    return _renamed([samples([open_picture(file)], side)[0] for file in files])


def readable_samples(files: Sequence[Path], side: int) -> tuple[list[Sample], list[str]]:
    """``opened_samples`` of the files that can be read, and a sentence for each other.

    Raises PictureError where none can.
    """
    taken: list[Sample] = []
    failures: list[str] = []
    for file in files:
        try:
            taken += samples([open_picture(file)], side)
        except PictureError as error:
            failures.append(str(error))
    if not taken:
        raise PictureError(failures[0])
    return _renamed(taken), failures


def _renamed(taken: Sequence[Sample]) -> list[Sample]:
    """The same with names of their own."""
    names = unique_names([sample.name for sample in taken])
    return [Sample(name, sample.digest, sample.image) for name, sample in zip(names, taken, strict=True)]


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with a number behind each that was there before.

    >>> unique_names(["a", "b", "a"])
    ['a', 'b', 'a-1']
    """
    found: list[str] = []
    for name in names:
        numbers = (f"{name}-{number}" if number else name for number in range(len(names)))
        found.append(next(each for each in numbers if each not in found))
    return found


def paired(contents: Sequence[Sample], styles: Sequence[Sample], count: int | None = None) -> list[Pair]:
    """Every content with every style; or ``count`` different ones of those pairs, that use all pictures about equally:
    each content in turn with every third style.
    """
    everything = len(contents) * len(styles)
    if count is None or count >= everything:
        return [Pair(content, style) for content in contents for style in styles]
    chosen: dict[tuple[int, int], None] = {}
    number = 0
    while len(chosen) < count:
        first, start = number % len(contents), number * 3
        free = (second % len(styles) for second in range(start, start + len(styles)))
        second = next((each for each in free if (first, each) not in chosen), None)
        if second is not None:
            chosen[first, second] = None
        number += 1
    return [Pair(contents[first], styles[second]) for first, second in chosen]


def described(settings: Mapping[str, Any]) -> str:
    """Settings as one line of JSON."""
    return json.dumps(settings, default=str, sort_keys=True)
