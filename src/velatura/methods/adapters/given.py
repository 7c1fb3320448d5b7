"""What a caller in Python brings for the adapters of a run, beside the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from velatura.models.adapters.ip_adapter import IPAdapter
from velatura.picture import Picture

IN_PYTHON = "given in Python"  # in manifests, for what has no file


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

    def as_settings(self) -> dict[str, str]:
        """The settings that manifests tell for what is given: a folder where one is known, else that it was given."""
        folder = str(getattr(self.controlnet, "_name_or_path", "") or "")
        given = {
            "ip_adapter": self.ip_adapter and IN_PYTHON,
            "ip_adapter_image": self.ip_adapter_image and IN_PYTHON,
            "controlnet": self.controlnet is not None and (folder if Path(folder).is_dir() and folder else IN_PYTHON),
            "control": self.control_image and IN_PYTHON,
        }
        return {name: value for name, value in given.items() if isinstance(value, str)}

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each picture, by its name."""
        pictures = {"ip_adapter_image": self.ip_adapter_image, "control_image": self.control_image}
        return {name: Picture.of(image).digest for name, image in pictures.items() if image is not None}
