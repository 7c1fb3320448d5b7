"""The control pictures of contents: their edges, or pictures that are given, as ControlNets take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from velatura.models.adapters.controlnet import RunPlace
from velatura.models.features.canny import canny_edges
from velatura.models.features.hed import hed_edges
from velatura.picture import image_to_pixels, open_picture
from velatura.progress import Progress, StepEnd
from velatura.span import progress_of

T = TypeVar("T")
Part = tuple[float, float, float, float]  # left, top, right, bottom of a part, as shares of the whole's sides
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)
# ControlNets for Canny were trained on OpenCV's edges between 100 and 200 of 255.
CANNY_LOW, CANNY_HIGH = 100 / 255, 200 / 255


def _canny(pixels: Tensor) -> Tensor:
    return canny_edges(pixels, CANNY_LOW, CANNY_HIGH)


EDGES: Mapping[str, Callable[[Tensor], Tensor]] = {"canny": _canny, "hed": hed_edges}


@torch.no_grad()
def control_picture(kind: str, given: Image.Image | None, pixels: Tensor, part: Part = WHOLE) -> Tensor:
    """The control picture (1, 3, H, W) in [0, 1] of a content's ``pixels`` (1, 3, H, W) in [-1, 1].

    Edges are those of the pixels, white on black. A picture that is ``given``, or whose path is ``kind``, belongs to
    the whole content, of which the pixels show a ``part``.
    """
    if given is None and kind in EDGES:
        return (1 - EDGES[kind](pixels)) / 2
    image = (given or open_picture(kind).image).convert("RGB")
    left, top, right, bottom = part
    box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    size = (pixels.shape[3], pixels.shape[2])
    return (image_to_pixels(image.resize(size, Image.Resampling.BICUBIC, box)) + 1) / 2


class PlacedProgress:
    """Hands progress on to ``inner``, and notes in ``place`` how far the present loop has come."""

    def __init__(self, inner: Progress, place: RunPlace) -> None:
        self._inner, self._place = inner, place

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items`` under the inner progress."""
        for index, item in enumerate(self._inner.track(items, what)):
            self._place.progress = progress_of(index, len(items))
            yield item

    def note(self, **values: float) -> None:
        """Hand on named numbers."""
        self._inner.note(**values)

    def estimate(self, x0: Callable[[], Tensor]) -> None:
        """Hand on a step's estimate."""
        self._inner.estimate(x0)

    def step_end(self, index: int, timestep: int, latents: Tensor) -> Tensor:
        """What the inner progress makes of the latents, where it has a say."""
        return self._inner.step_end(index, timestep, latents) if isinstance(self._inner, StepEnd) else latents
