"""Velatura: diffusion style transfer where the style goes on and the content stays.

>>> from velatura import Studio
>>> Studio("house").stylize("photo.jpg", style="painting.jpg", seed=0).save("out.png")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from velatura.version import __version__

if TYPE_CHECKING:
    from velatura.app.studio import Studio

__all__ = ["Studio", "__version__"]


def __getattr__(name: str) -> Any:
    # Studio imports torch; whoever only asks for the version should not wait for that.
    if name == "Studio":
        from velatura.app.studio import Studio

        return Studio
    raise AttributeError(f"module 'velatura' has no attribute '{name}'")
