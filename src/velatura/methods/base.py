"""What every method offers and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Protocol

from PIL import Image

from velatura.models.backbone import Backbone
from velatura.picture import Picture
from velatura.progress import Progress
from velatura.style import Style


@dataclass(frozen=True)
class Stylization:
    """A result: the ``picture`` at the content's size, pictures made on the way by name, numbers, manifest."""

    picture: Image.Image
    alpha: Image.Image | None
    layers: Mapping[str, Image.Image] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """Settings of one method; frozen."""

    name: str

    def fit(self, picture: Picture, backbone: Backbone, name: str, progress: Progress) -> Style:
        """Learn a style from one picture."""
        ...

    def stylize(self, content: Picture, style: Style, backbone: Backbone, seed: int, progress: Progress) -> Stylization:
        """Put the style on the content."""
        ...


def versions() -> dict[str, str]:
    """Versions of what decides about the numbers, for manifests and cards."""
    return {name: metadata.version(name) for name in ("velatura", "torch", "diffusers", "transformers")}
