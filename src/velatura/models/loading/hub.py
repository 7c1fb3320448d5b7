"""Pretrained networks from a folder, the hub's cache or the hub, with a quick answer where there is no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from velatura.errors import ModelError
from velatura.models.loading.library_logging import quiet_libraries

TIMEOUT = 10.0  # seconds until the hub counts as out of reach


def pretrained(load: Callable[..., Any], place: str, hint: str) -> Any:
    """``load(place)``, diffusers' or transformers' ``from_pretrained``, from a folder, the cache, then the hub.

    Raises ModelError, ending in ``hint``, where it is in none of them. Without a network it raises at once; the
    libraries' own loaders retry for most of a minute.
    """
    from huggingface_hub import HfApi

    with quiet_libraries():
        try:
            return load(place, local_files_only=True)
        except (OSError, ValueError):
            pass  # Not here, or not whole: ask the hub.
        try:
            HfApi().model_info(place, timeout=TIMEOUT)
            return load(place)
        except Exception as error:
            raise ModelError(
                f"The model {place} is not in the cache and the hub could not give it ({type(error).__name__}): {hint}."
            ) from None
