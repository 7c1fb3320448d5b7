"""Other ways to put a style on a picture, in the same run as the methods: one file and one line here for each."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from velatura.errors import SettingError
from velatura.evaluation.outsiders.base import LoadBackbone, Outsider

OUTSIDERS: Mapping[str, str] = {
    "photo": "velatura.evaluation.outsiders.photo:Photo",
    "style": "velatura.evaluation.outsiders.style:StylePicture",
    "palette": "velatura.evaluation.outsiders.palette:PaletteTransport",
    "magenta": "velatura.evaluation.outsiders.magenta:Magenta",
    "gatys": "velatura.evaluation.outsiders.gatys:Gatys",
    "adain": "velatura.evaluation.outsiders.adain:LatentAdaIN",
    "img2img": "velatura.evaluation.outsiders.img2img:ImageToImage",
}


def outsider_class(name: str) -> type[Outsider]:
    """An outsider's class by name. Raises SettingError for an unknown one."""
    if name not in OUTSIDERS:
        raise SettingError(f"Unknown outsider '{name}': use {', '.join(OUTSIDERS)}.")
    module, _, attribute = OUTSIDERS[name].partition(":")
    found: type[Outsider] = getattr(import_module(module), attribute)
    return found


__all__ = ["OUTSIDERS", "LoadBackbone", "Outsider", "outsider_class"]
