"""Fits that the style library keeps under a name: given again without a fit, where the same is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from velatura import Studio
from velatura.errors import StyleError
from velatura.methods.base import Method
from velatura.picture import Picture
from velatura.style import Style, StyleLibrary

REQUEST = "comfyui_request"  # the entry of a style's card that says what its node was asked for


def request_of(method: Method, pictures: Sequence[Picture], mask: Picture | None, studio: Studio) -> str:
    """The SHA-256 of all that a fit depends on: method, settings, pictures, mask and model."""
    told = [
        [method.style_method, *method.style_view, dict(method.fit_settings)],
        [picture.digest for picture in pictures],
        mask.digest if mask is not None else "",
        studio.backbone.fingerprint,
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def kept_fit(library: StyleLibrary, name: str, request: str, replaces: bool) -> Style | None:
    """The library's style ``name`` where it was fitted on this request; None where one may be fitted.

    Raises StyleError for a name that cannot be one, and for another style of that name unless it is replaced.
    """
    library.path(name)
    if not library.has(name):
        return None
    with suppress(StyleError):  # a damaged one is another one
        found = library.load(name)
        if found.card.get(REQUEST) == request:
            return found
    if not replaces:
        raise StyleError(
            f"The library has another style '{name}', of other pictures, settings or model: choose another name, or "
            "switch on replace."
        )
    return None


def keep(library: StyleLibrary, style: Style, request: str) -> None:
    """Keep a style in the library with what was asked for, over one of its name."""
    library.add(replace(style, card={**style.card, REQUEST: request}), replace=True)
