"""What a caller in Python brings for the adapters of a run, beside the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from velatura.models.adapters.ip_adapter import IPAdapter
from velatura.picture import Picture


@dataclass(frozen=True, eq=False)
class GivenAdapters:
    """Networks that are loaded already, and pictures in memory; None where the settings name one, or there is none.

    ``ip_adapter_scales`` are those of the loaded IP-Adapter's attentions, ``ip_adapter_image`` is the picture that it
    reads; ``control_image`` is what the ``controlnet``, a diffusers ControlNetModel, follows.
    """

    ip_adapter: IPAdapter | None = None
    ip_adapter_scales: Mapping[str, float] = field(default_factory=dict)
    ip_adapter_image: Image.Image | None = None
    controlnet: Any = None
    control_image: Image.Image | None = None

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each picture, by its name."""
        pictures = {"ip_adapter_image": self.ip_adapter_image, "control_image": self.control_image}
        return {name: Picture.of(image).digest for name, image in pictures.items() if image is not None}
