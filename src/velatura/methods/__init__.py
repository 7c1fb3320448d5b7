"""Ways to put a style on a picture; each file reads like its paper."""

from __future__ import annotations

from collections.abc import Mapping

from velatura.errors import SettingError
from velatura.methods.base import Method, Stylization
from velatura.methods.diffstyler import DiffStyler
from velatura.methods.guided import Guided
from velatura.methods.s2prest import InST, S2PreST

MethodClass = type[Guided] | type[S2PreST] | type[DiffStyler]
METHODS: Mapping[str, MethodClass] = {cls.name: cls for cls in (Guided, S2PreST, InST, DiffStyler)}


def method_of(name: str) -> MethodClass:
    """The method's settings class by name. Raises SettingError for an unknown one."""
    if name not in METHODS:
        raise SettingError(f"Unknown method '{name}': use {', '.join(METHODS)}.")
    return METHODS[name]


__all__ = ["METHODS", "DiffStyler", "Guided", "InST", "Method", "MethodClass", "S2PreST", "Stylization", "method_of"]
