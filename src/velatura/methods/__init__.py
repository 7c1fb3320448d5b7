"""Ways to put a style on a picture; each file reads like its paper."""

from __future__ import annotations

from collections.abc import Mapping

from velatura.errors import SettingError
from velatura.methods.base import Method, Stylization
from velatura.methods.guided import Guided

METHODS: Mapping[str, type[Guided]] = {Guided.name: Guided}


def method_of(name: str) -> type[Guided]:
    """The method's settings class by name. Raises SettingError for an unknown one."""
    if name not in METHODS:
        raise SettingError(f"Unknown method '{name}': use {', '.join(METHODS)}.")
    return METHODS[name]


__all__ = ["METHODS", "Guided", "Method", "Stylization", "method_of"]
