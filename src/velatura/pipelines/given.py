"""diffusers' arguments for adapters, as the methods take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from velatura.app.pictures import PictureLike, as_picture
from velatura.methods.adapters.given import GivenAdapters

# diffusers' names of settings.
SETTING_OF: Mapping[str, str] = {
    "controlnet_conditioning_scale": "control_scale",
    "control_guidance_start": "control_start",
    "control_guidance_end": "control_end",
}


def with_given(
    settings: Mapping[str, Any], ip_adapter_image: PictureLike | None, control_image: PictureLike | None
) -> tuple[dict[str, Any], GivenAdapters]:
    """A method's settings under its own names, and what is given in memory: pictures, and a ControlNetModel."""
    named = {SETTING_OF.get(name, name): value for name, value in settings.items()}
    controlnet = None if isinstance(named.get("controlnet"), str | None) else named.pop("controlnet")
    given = GivenAdapters(
        ip_adapter_image=None if ip_adapter_image is None else as_picture(ip_adapter_image).image,
        controlnet=controlnet,
        control_image=None if control_image is None else as_picture(control_image).image,
    )
    return named, given
