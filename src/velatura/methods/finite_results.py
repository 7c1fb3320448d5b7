"""Results that are no pictures, because a setting drove them out of all bounds."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from velatura.errors import SettingError

# Settings of methods that drive a result to infinity where they are too large, in the order to try lower values.
STRONG_SETTINGS = ("guidance_rms", "weights", "guidance_scale", "temperature")


def check_finite_result(pixels: Tensor, settings: Any, name: str) -> None:
    """Raise SettingError, naming which ``settings`` to lower, for a result called ``name`` that is not finite."""
    if bool(pixels.isfinite().all()):
        return
    strong = [setting for setting in STRONG_SETTINGS if getattr(settings, setting, 0)]
    raise SettingError(
        f"The result for {name} is not finite and was not kept: lower {' or '.join(strong) or 'the strength'}, "
        "or use --dtype fp32."
    )
