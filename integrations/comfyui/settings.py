"""A method and its settings as a node's widgets give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from velatura.app.options import parse_settings
from velatura.app.studio import configured
from velatura.errors import SettingError
from velatura.methods.base import Method

CATEGORY = "Velatura"  # where ComfyUI's menu shows the nodes
Inputs = dict[str, dict[str, tuple[Any, ...]]]

SETTINGS = (
    "STRING",
    {"default": "", "multiline": True, "tooltip": "NAME=VALUE, one a line; 'velatura settings METHOD' lists them"},
)
LOSSES = (
    "STRING",
    {"default": "", "multiline": True, "tooltip": "NAME=WEIGHT, one a line; texture=2@0-0.5: in the first half only"},
)
PRESET = ("STRING", {"default": "", "tooltip": "named settings of the method, such as guided's poster"})


def method_of(
    name: str,
    settings: str = "",
    losses: str = "",
    preset: str = "",
    numbers: Mapping[str, tuple[str, float]] | None = None,
) -> Method:
    """A method by name, with the settings and losses of their boxes' lines, over a preset's.

    ``numbers`` are what has a widget of its own, by the setting's name: the widget's name and the value, below 0 for
    the method's own. Raises SettingError for a line that repeats one of them, and what ``parse_settings`` raises.
    """
    lines, numbers = _lines(settings), numbers or {}
    for line in lines:
        setting = line.partition("=")[0].strip()
        if setting in numbers:
            raise SettingError(
                f"The settings have a line {line}, and the node has the widget {numbers[setting][0]} for that: set it "
                "there, and take the line out."
            )
    chosen, parsed = parse_settings(name, lines, _lines(losses), preset.strip(), "The setting")
    return configured(chosen, parsed | {key: value for key, (_, value) in numbers.items() if value >= 0})


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
