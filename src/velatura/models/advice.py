"""What a model's folder advises: settings that its makers measured and a paper about another model cannot know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from velatura.errors import ModelError

ADVICE_FILE = "advice.json"
ADVISED: Mapping[str, type[float] | type[str]] = {
    "guidance_scale": float,
    "lora_rate": float,
    "inversion": str,
    "prompt": str,
}

Advice = Mapping[str, float | str]


def advice_in(folder: Path) -> Advice:
    """The settings of ``advice.json``, where there is one. Raises ModelError for one that is not right."""
    path = folder / ADVICE_FILE
    if not path.is_file():
        return {}
    try:
        read = dict(json.loads(path.read_text()))
        return {name: kind(read[name]) for name, kind in ADVISED.items() if name in read}
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} should hold an object of settings ({', '.join(ADVISED)}), but: {error}.") from None
