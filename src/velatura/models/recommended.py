"""Settings that a model's folder recommends: measured on that model by its makers, in place of a paper's defaults.

A setting is named alone, for every method that has it, or after a method, for that one: "s2prest.strength".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from velatura.errors import ModelError

RECOMMENDED_FILE = "recommended_settings.json"
SHARES = (
    "strength",
    "content_condition",
    "edge_condition",
    "style_condition",
    "edge_noise",
    "style_latent",
    "adain",
    "palette",
    "final_adain",
    "colours",
    "strokes",
)
KINDS: Mapping[str, type[float] | type[str]] = {
    "guidance_scale": float,
    "guidance_scaling": str,
    "lora_rate": float,
    "inversion": str,
    "prompt": str,
    "start": str,
    **dict.fromkeys(SHARES, float),
}

RecommendedSettings = Mapping[str, float | str]


def read_recommended_settings(folder: Path) -> RecommendedSettings:
    """The settings in ``recommended_settings.json``, or none. Raises ModelError for a file that cannot be read."""
    path = folder / RECOMMENDED_FILE
    if not path.is_file():
        return {}
    try:
        read = dict(json.loads(path.read_text()))
        known = {name: KINDS.get(name.rpartition(".")[2]) for name in read}
        return {name: kind(read[name]) for name, kind in known.items() if kind}
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} should hold an object of settings ({', '.join(KINDS)}), but: {error}.") from None


def write_recommended_settings(folder: Path, settings: RecommendedSettings) -> None:
    """Write ``recommended_settings.json``, or nothing where no setting is recommended."""
    if settings:
        (folder / RECOMMENDED_FILE).write_text(json.dumps(dict(settings), indent=2) + "\n")


def for_method(method: str, settings: RecommendedSettings) -> RecommendedSettings:
    """What is recommended for a method, by the settings' own names; what is said for it alone goes first.

    >>> for_method("inst", {"strength": 0.4, "inst.strength": 0.6, "other.adain": 1.0})
    {'strength': 0.6}
    """
    own = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{method}.")}
    return {**{name: value for name, value in settings.items() if "." not in name}, **own}
