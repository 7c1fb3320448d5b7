"""Networks from the hub's cache or the hub itself, told apart quickly from those that cannot be had."""

from __future__ import annotations

from typing import Any

from velatura.errors import ModelError
from velatura.models.quiet import quiet

PATIENCE = 10.0  # seconds until the hub counts as out of reach


def pretrained(cls: Any, place: str, otherwise: str) -> Any:
    """``cls.from_pretrained(place)``: a folder, the cache, then the hub.

    Raises ModelError, with what to do ``otherwise``, where it is in none; at once where there is no network, which the
    libraries' own loaders try for most of a minute.
    """
    from huggingface_hub import HfApi

    with quiet():
        try:
            return cls.from_pretrained(place, local_files_only=True)
        except (OSError, ValueError):
            pass  # Not here, or not whole: ask the hub.
        try:
            HfApi().model_info(place, timeout=PATIENCE)
            return cls.from_pretrained(place)
        except Exception as error:
            raise ModelError(
                f"The model {place} is not in the cache and the hub could not give it ({type(error).__name__}): "
                f"connect once, or {otherwise}."
            ) from None
