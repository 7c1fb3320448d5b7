"""Previews of a run while it denoises, and a way to stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from velatura.errors import StoppedError
from velatura.models.backbone import Backbone
from velatura.picture import pixels_to_image
from velatura.progress import Progress

T = TypeVar("T")
OnStep = Callable[[int, Image.Image], bool | None]


class Previews:
    """Hands progress on to ``inner``, and calls ``on_step`` with each step's number, from 1, and its decoded x_0.

    Of several contents that share a pass the first is shown. Where ``on_step`` returns False the run is stopped, which
    raises StoppedError; nothing is written then.
    """

    def __init__(self, inner: Progress, on_step: OnStep, backbone: Backbone) -> None:
        self._inner, self._on_step, self._backbone = inner, on_step, backbone
        self._step = 0

    def track(self, items: Sequence[T], what: str) -> Iterator[T]:
        """Yield ``items`` under the inner progress."""
        yield from self._inner.track(items, what)

    def note(self, **values: float) -> None:
        """Hand on named numbers."""
        self._inner.note(**values)

    def estimate(self, x0: Callable[[], Tensor]) -> None:
        """Decode and show a step's estimate. Raises StoppedError where the caller asks to stop."""
        self._step += 1
        with torch.no_grad():
            preview = pixels_to_image(self._backbone.decode(x0()[:1]))
        if self._on_step(self._step, preview) is False:
            raise StoppedError(f"Stopped at step {self._step}, as asked; nothing was written.")
