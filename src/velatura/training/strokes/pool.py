"""A pool of what the fast UNet painted: photos in the styles of paintings, renewed slowly."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from velatura.errors import PictureError
from velatura.losses.strokes import StyleMeasures
from velatura.methods.context import RunContext
from velatura.methods.fast import Fast, painted_style
from velatura.methods.strokes.pictures import Painted, PaintedRows, joined, painted_of
from velatura.models.house.backbone import HouseBackbone
from velatura.picture import Picture, pixels_to_image
from velatura.training.fast.pictures import Pictures

SIDE = 256  # px of the photos' crops
KEPT_OUT = 20  # of so many photos, and of so many paintings, one is never trained on
Sources = tuple[Sequence[Path], Sequence[Path]]  # photos and paintings


class PaintedPool:
    """The pictures ``kept``, to which it adds what ``make`` makes."""

    def __init__(self, make: Callable[[], Painted], kept: list[Painted]) -> None:
        self.make, self.kept = make, kept
        self._oldest = 0

    def renew(self, most: int) -> None:
        """Make one more; where there are ``most`` already, it takes the place of the oldest."""
        if len(self.kept) < most:
            self.kept.append(self.make())
            return
        self.kept[self._oldest] = self.make()
        self._oldest = (self._oldest + 1) % len(self.kept)

    def draw(self, count: int, chance: random.Random) -> PaintedRows:
        """``count`` random pictures."""
        return joined(chance.choices(self.kept, k=count))


def kept_apart(pictures: Sources) -> tuple[Sources, Sources]:
    """What to train on of (photos, paintings), and what to check with: each twentieth in the order of their names.

    Raises PictureError where nothing is left to train on.
    """
    photos, paintings = (sorted(paths) for paths in pictures)
    if len(photos) < 2 or len(paintings) < 2:
        raise PictureError("Training needs two photos and two paintings or more: some are kept to check with.")
    held_out = photos[::KEPT_OUT], paintings[::KEPT_OUT]
    del photos[::KEPT_OUT], paintings[::KEPT_OUT]
    return (photos, paintings), held_out


def painter(
    backbone: HouseBackbone,
    pictures: tuple[Pictures, Pictures],
    measured: Callable[[Tensor], StyleMeasures],
    chance: random.Random,
) -> Callable[[], Painted]:
    """What makes pictures for a pool: a crop of a random photo of (photos, paintings) in a random painting's style."""
    photos, paintings = pictures
    method = Fast()

    def make() -> Painted:
        photo, painting = photos.crop(photos.draw(), SIDE), paintings.whole(paintings.draw())
        context = RunContext(backbone, chance.randrange(2**20))
        style = method.fit(Picture.of(pixels_to_image(painting), "painting"), "painting", context)
        content = Picture.of(pixels_to_image(photo), "photo")
        paint = partial(method.before_strokes, context=context)
        return painted_of(content, style, painted_style(style, backbone), measured(painting.to(backbone.device)), paint)

    return make
