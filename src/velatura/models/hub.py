"""Networks from the hub's cache or the hub itself, told apart quickly from those that cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from velatura.errors import ModelError
from velatura.models.quiet import quiet

PATIENCE = 10.0  # seconds until the hub counts as out of reach


def pretrained(load: Callable[..., Any], place: str, advice: str) -> Any:
    """``load(place)``, diffusers' or transformers' ``from_pretrained``: a folder, the cache, then the hub.

    Raises ModelError, with ``advice``, where it is in none; at once where there is no network, which the libraries'
    own loaders try for most of a minute.
    """
    from huggingface_hub import HfApi

    with quiet():
        try:
            return load(place, local_files_only=True)
        except (OSError, ValueError):
            pass  # Not here, or not whole: ask the hub.
        try:
            HfApi().model_info(place, timeout=PATIENCE)
            return load(place)
        except Exception as error:
            raise ModelError(
                f"The model {place} is not in the cache and the hub could not give it ({type(error).__name__}): "
                f"{advice}."
            ) from None
