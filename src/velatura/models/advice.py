"""What a model's folder advises, in numbers that its makers measured and a paper about another model cannot know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from velatura.errors import ModelError

ADVICE_FILE = "advice.json"
ADVISED = ("guidance_scale", "lora_rate")


def advice_in(folder: Path) -> Mapping[str, float]:
    """The numbers of ``advice.json``; none where there is no such file. Raises ModelError for one that is not right."""
    path = folder / ADVICE_FILE
    if not path.is_file():
        return {}
    try:
        read: dict[str, float] = dict(json.loads(path.read_text()))
        return {name: float(read[name]) for name in ADVISED if name in read}
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} should hold an object of numbers ({', '.join(ADVISED)}), but: {error}.") from None
