"""The names of methods and reproductions, and what each can do. A method's module is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from velatura.errors import SettingError

if TYPE_CHECKING:
    from velatura.methods.base import Method

METHODS: Mapping[str, str] = {
    "guided": "velatura.methods.guided:Guided",
    "s2prest": "velatura.methods.s2prest:S2PreST",
    "inst": "velatura.methods.s2prest:InST",
    "diffstyler": "velatura.methods.diffstyler:DiffStyler",
    "styleid": "velatura.methods.styleid:StyleID",
    "fast": "velatura.methods.fast:Fast",
}
REPRODUCTIONS: Mapping[str, str] = {
    "zecon-original": "velatura.reproductions.zecon:ZeConOriginal",
    "s2prest-original": "velatura.reproductions.s2prest:S2PreSTOriginal",
    "inst-original": "velatura.reproductions.s2prest:InSTOriginal",
    "diffstyler-original": "velatura.reproductions.diffstyler:DiffStylerOriginal",
}
NAMES = (*METHODS, *REPRODUCTIONS)
REPRODUCTION_OF: Mapping[str, str] = {
    "guided": "zecon-original",
    "s2prest": "s2prest-original",
    "inst": "inst-original",
    "diffstyler": "diffstyler-original",
}


def check_name(name: str) -> None:
    """Raise SettingError for a name that is no method's and no reproduction's."""
    if name not in NAMES:
        raise SettingError(f"Unknown method '{name}': use {', '.join(NAMES)}.")


def method_class(name: str) -> type[Method]:
    """A method's or a reproduction's class by name. Raises SettingError for an unknown one."""
    check_name(name)
    module, _, attribute = {**METHODS, **REPRODUCTIONS}[name].partition(":")
    found: type[Method] = getattr(import_module(module), attribute)
    return found


def methods_with(capability: str) -> list[str]:
    """The names of the methods whose class variable ``capability`` is true or not empty."""
    return [name for name in NAMES if getattr(method_class(name), capability)]


def preset_settings(method: str, preset: str) -> Mapping[str, Any]:
    """The settings that a method's preset changes. Raises SettingError for an unknown preset."""
    presets = method_class(method).presets
    if not presets:
        raise SettingError(
            f"The method {method} has no presets: those with some are {', '.join(methods_with('presets'))}."
        )
    if preset not in presets:
        raise SettingError(f"Unknown preset '{preset}': use {', '.join(presets)}.")
    return presets[preset]
