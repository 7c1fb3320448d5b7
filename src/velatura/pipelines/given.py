"""diffusers' arguments as the methods take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from velatura.app.former_names import Choice, current
from velatura.app.options import with_resolution
from velatura.errors import SettingError
from velatura.methods.adapters.control import EDGES
from velatura.methods.adapters.controlling import ONE_PHOTO
from velatura.methods.adapters.given import GivenAdapters
from velatura.pipelines.pictures import read_picture, single
from velatura.registry import method_class

# diffusers' names of settings.
SETTING_OF: Mapping[str, str] = {
    "controlnet_conditioning_scale": "control_scale",
    "control_guidance_start": "control_start",
    "control_guidance_end": "control_end",
}
# What diffusers takes in lists, of which there is one for all pictures here.
SINGLE = (*SETTING_OF, "controlnet", "prompt", "negative_prompt", "ip_adapter", "control")


def as_settings(arguments: Mapping[str, Any], method: str) -> dict[str, Any]:
    """A method's settings under its own names, of a call's arguments; None is left out.

    Raises SettingError for an argument that is no setting, and for lists of several.
    """
    given = {name: single(value, name) if name in SINGLE else value for name, value in arguments.items()}
    named = {SETTING_OF.get(name, name): value for name, value in given.items() if value is not None}
    chosen = current(Choice(method, with_resolution(named)))
    known = {field.name for field in fields(method_class(chosen.method))}
    unknown = sorted(set(chosen.settings) - known)
    if unknown:
        raise SettingError(
            f"{unknown[0]} is not taken by this pipeline: leave it out (its arguments stand in docs/diffusers.md, and "
            f"the method's settings in 'velatura settings {method}')."
        )
    return named


def with_given(
    settings: Mapping[str, Any], ip_adapter_image: Any, control_image: Any
) -> tuple[dict[str, Any], GivenAdapters]:
    """Settings without what is given in memory, and that: pictures, and a ControlNetModel."""
    controlnet = settings.get("controlnet")
    named = {name: value for name, value in settings.items() if name != "controlnet"}
    if isinstance(controlnet, str | Path):
        named["controlnet"], controlnet = str(controlnet), None
    given = GivenAdapters(
        ip_adapter_image=_image(ip_adapter_image, "ip_adapter_image"),
        controlnet=controlnet,
        control_image=_image(control_image, "control_image"),
    )
    return named, given


def check_control_of_one(settings: Mapping[str, Any], given: GivenAdapters, pictures: int) -> None:
    """Raise SettingError for one control picture of several ``pictures``."""
    follows_edges = given.control_image is None and settings.get("control", "canny") in EDGES
    if pictures > 1 and not follows_edges:
        raise SettingError(ONE_PHOTO)


def _image(source: Any, name: str) -> Any:
    return None if source is None else read_picture(source, name).image
