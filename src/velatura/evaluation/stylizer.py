"""What a benchmark runs: anything that puts a style picture's style on a content picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class Stylizer(Protocol):
    """A method or an outsider. Pixels are (1, 3, H, W) in [-1, 1]; the same seed gives the same result."""

    @property
    def name(self) -> str:
        """The method's name."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that a result depends on beside pictures and seed; JSON can hold it."""
        ...

    @property
    def evaluations(self) -> int:
        """Evaluations of a denoising network so far."""
        ...

    def prepare(self, style: Tensor) -> None:
        """Whatever is done once for a style: a fit."""
        ...

    def stylize(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The content in the style, of the content's shape."""
        ...
