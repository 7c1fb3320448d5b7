"""Names of settings, values and presets from version 0.1, translated with a warning for one version."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from velatura.registry import REPRODUCTION_OF, method_class
from velatura.span import Span

COMPAT, ORIGINAL = "compat", "original"  # the setting that chose a method's reproduction
LEAVES = "is understood for one more version"

log = logging.getLogger("velatura")


@dataclass(frozen=True)
class Choice:
    """A method, its settings by name, and the preset under them, as a user asked for them."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str = ""


def current(choice: Choice) -> Choice:
    """The same choice in today's names; each former name is one warning that gives its successor.

    The preset of a reproduction's name and ``compat=original`` choose that reproduction. Then settings and values are
    renamed by the method class's ``renamed`` and ``renamed_values``, and spans in pairs become Spans. Names that were
    never known are left for others to refuse. Raises SettingError for an unknown method.
    """
    choice = _reproduction(choice)
    cls = method_class(choice.method)
    settings: dict[str, Any] = {}
    for name, value in choice.settings.items():
        new = cls.renamed.get(name, name)
        new_value = _value(value, cls.renamed_values.get(new, {}))
        if (new, new_value) != (name, value):
            log.warning(f"The setting {name}={value} is now {new}={new_value}; the old one {LEAVES}.")
        settings[new] = new_value
    return Choice(choice.method, settings, choice.preset)


def _value(value: Any, renamed: Mapping[str, str]) -> Any:
    """A text by its name of today; pairs (start, end) in a mapping as Spans; anything else as it is."""
    if isinstance(value, str):
        return renamed.get(value, value)
    if isinstance(value, Mapping):
        return {name: Span(*inner) if isinstance(inner, tuple) else inner for name, inner in value.items()}
    return value


def _reproduction(choice: Choice) -> Choice:
    """The choice of a reproduction that was made by a preset or by ``compat``, as that of a method."""
    successor = REPRODUCTION_OF.get(choice.method)
    if successor is None:
        return choice
    settings, preset, former = dict(choice.settings), choice.preset, ""
    compat = settings.get(COMPAT)
    if compat in ("", ORIGINAL):
        del settings[COMPAT]
        former = f"{COMPAT}={compat}" if compat else ""
    if preset == successor:
        former, preset = f"The preset {preset}", ""
    if not former:
        return Choice(choice.method, settings, preset)
    log.warning(f"{former} is now a method of its own: use --method {successor}; the old way {LEAVES}.")
    return Choice(successor, settings, preset)
