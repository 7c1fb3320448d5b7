"""Fitting a style to pictures by any method: at a style scale, with a style mask, without a plain ground."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from velatura.errors import SettingError
from velatura.methods.base import Method
from velatura.methods.context import RunContext
from velatura.methods.shared_settings import FIGURE, WHOLE
from velatura.models.backbone import Backbone
from velatura.picture import Picture
from velatura.picture.mask import mask_levels
from velatura.style import Style
from velatura.style.ground import figure_mask, on_white
from velatura.style.scale import scaled_style


@runtime_checkable
class FitsSeveral(Protocol):
    """A method that learns one style from several pictures at once."""

    def fit_several(
        self, pictures: Sequence[Picture], name: str, context: RunContext[Backbone], checkpoint: Path | None = None
    ) -> Style:
        """Learn one style from several pictures; resumed from ``checkpoint``."""
        ...


def fit_style(
    method: Method,
    pictures: Sequence[Picture],
    name: str,
    context: RunContext[Backbone],
    mask: Picture | None = None,
    checkpoint: Path | None = None,
) -> Style:
    """Learn one style from pictures at the method's ``style_scale``; of one picture what is white in ``mask``, or else
    the figure where ``style_ground`` asks for it.

    A method that neither learns from several pictures at once nor mixes styles takes one picture; one that only mixes
    fits each, with a ``checkpoint`` of its own, and mixes them in equal parts. The card names the pictures as they were
    before they were scaled, and keeps the scale and what became of a plain ground. Raises SettingError for a mask or a
    figure of several pictures and for several pictures where one is taken, StyleError for a picture that is transparent
    everywhere, and what the method's own fit raises.
    """
    method.check_shared(method.name)
    if len(pictures) > 1 and mask is not None:
        raise SettingError("A style mask is for one style picture: give one picture, or leave the mask out.")
    scale, figure = method.style_view
    if len(pictures) > 1 and figure:
        raise SettingError("style_ground=figure is for one style picture: give one picture, or leave it out.")
    origin = _origin(pictures, scale, mask)
    if not method.as_published:
        found = figure_mask(pictures[0]) if mask is None and len(pictures) == 1 else None
        origin |= {} if found is None else {"style_ground": FIGURE if figure else WHOLE}
        mask = found if figure and found else mask
        pictures = [on_white(picture) for picture in pictures]
    levels = None if mask is None or scale == 1 else mask_levels(mask).resize(pictures[0].size)
    scaled = [scaled_style(picture.image, levels, scale) for picture in pictures]
    seen = [
        picture if scale == 1 else Picture.of(image, picture.name)
        for (image, _), picture in zip(scaled, pictures, strict=True)
    ]
    if scaled[0][1] is not None:
        mask = Picture.of(scaled[0][1], "mask")
    if len(pictures) == 1:
        style = method.fit(seen[0], name, context, mask, checkpoint)
    else:
        style = replace(_fitted_together(method, seen, name, context, checkpoint), name=name)
    return replace(style, card={**style.card, **origin})


def _fitted_together(
    method: Method, pictures: Sequence[Picture], name: str, context: RunContext[Backbone], checkpoint: Path | None
) -> Style:
    if isinstance(method, FitsSeveral):
        return method.fit_several(pictures, name, context, checkpoint)
    if not method.mixes:
        raise SettingError(f"The method {method.name} learns a style from one picture: give it one.")
    parts = []
    for number, picture in enumerate(pictures):
        own = None if checkpoint is None else checkpoint.with_stem(f"{checkpoint.stem}-{number}")
        parts.append((method.fit(picture, picture.name, context, None, own), 1.0))
    return method.mix(parts)


def _origin(pictures: Sequence[Picture], scale: float, mask: Picture | None) -> dict[str, Any]:
    """What a card tells of the pictures and the mask: nothing new of one picture at scale 1 without a mask."""
    found: dict[str, Any] = {} if mask is None else {"mask": _named(mask)}
    if scale == 1 and len(pictures) == 1:
        return found
    digests = [picture.digest for picture in pictures]
    joined = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    names = " + ".join(picture.name for picture in pictures)
    size, several = list(pictures[0].size), [_named(picture) for picture in pictures]
    found |= {"pictures": several} if len(several) > 1 else {"file": pictures[0].file}
    return {**found, "picture": names, "sha256": joined, "size": size, "style_scale": scale}


def _named(picture: Picture) -> dict[str, str]:
    """A file as it can be found again."""
    return {"file": picture.file, "sha256": picture.digest}
