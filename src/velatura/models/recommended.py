"""Settings that a model's folder recommends: measured on that model by its makers, in place of a paper's defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from velatura.errors import ModelError

RECOMMENDED_FILE = "recommended_settings.json"
KINDS: Mapping[str, type[float] | type[str]] = {
    "guidance_scale": float,
    "lora_rate": float,
    "inversion": str,
    "prompt": str,
}

RecommendedSettings = Mapping[str, float | str]


def read_recommended_settings(folder: Path) -> RecommendedSettings:
    """The settings in ``recommended_settings.json``, or none. Raises ModelError for a file that cannot be read."""
    path = folder / RECOMMENDED_FILE
    if not path.is_file():
        return {}
    try:
        read = dict(json.loads(path.read_text()))
        return {name: kind(read[name]) for name, kind in KINDS.items() if name in read}
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} should hold an object of settings ({', '.join(KINDS)}), but: {error}.") from None
