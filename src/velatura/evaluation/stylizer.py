"""What a benchmark runs: anything that puts a style picture's style on a content picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Stylized:
    """A result (1, 3, H, W) in [-1, 1], and the manifest that its file carries."""

    pixels: Tensor
    manifest: Mapping[str, Any]


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


@runtime_checkable
class WithManifest(Protocol):
    """A stylizer whose results can be made again from a manifest."""

    def stylize_with_manifest(self, content: Tensor, style: Tensor, seed: int) -> Stylized:
        """The result of ``stylize`` and its manifest."""
        ...


def stylized(stylizer: Stylizer, content: Tensor, style: Tensor, seed: int) -> Stylized:
    """A result with its manifest; of a stylizer without manifests it says only which one made it."""
    if isinstance(stylizer, WithManifest):
        return stylizer.stylize_with_manifest(content, style, seed)
    return Stylized(stylizer.stylize(content, style, seed), {"outsider": stylizer.name})
