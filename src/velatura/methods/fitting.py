"""Parts of every method's fit: the identity of a checkpoint, a style's card, and the mask of a style picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from velatura.errors import SettingError, StyleError
from velatura.methods.cost import Cost
from velatura.methods.provenance import versions
from velatura.methods.validation import changed
from velatura.models.backbone import Backbone
from velatura.picture import Picture, image_to_pixels
from velatura.picture.mask import mask_levels
from velatura.style import Style
from velatura.style.mixing import parts_of

CHECKPOINT_FORMAT = 2  # a checkpoint of another format is not resumed


def fit_settings(settings: Any, cls: type[Any]) -> dict[str, Any]:
    """The settings of a method that the dataclass ``cls`` declares, by name: those that its fit depends on."""
    return {name: value for name, value in asdict(settings).items() if name in cls.__dataclass_fields__}


def check_fit_settings(settings: Any, styles: Sequence[Style]) -> None:
    """Raise SettingError for a setting of the fit ("fit_...") that is given where no style was fitted with it: it would
    do nothing.
    """
    parts = [(part.name, part.card.get("settings") or {}) for style in styles for part, _ in parts_of(style)]
    for name in changed(settings, [name for name in settings.fit_settings if name.startswith("fit_")]):
        asked = getattr(settings, name)
        fitted = [(style, own[name]) for style, own in parts if name in own]
        if fitted and asked not in [value for _, value in fitted]:
            style, value = fitted[0]
            raise SettingError(
                f"The style '{style}' was fitted with {name}={value}, not {asked}: leave {name} out, or fit it again."
            )


def fit_identity(picture: Picture, mask: Picture | None, backbone: Backbone, own: Mapping[str, Any]) -> str:
    """The text that names a fit in its checkpoint: picture, mask, base model and the fit's ``own`` settings."""
    return json.dumps(
        [CHECKPOINT_FORMAT, picture.digest, mask.digest if mask else "", backbone.fingerprint, own], sort_keys=True
    )


def fit_card(
    picture: Picture, own: Mapping[str, Any], curve: Sequence[tuple[int, float]], stopped: str, cost: Cost
) -> dict[str, Any]:
    """A fitted style's card: picture, the fit's ``own`` settings, loss by step, why it stopped, cost and versions."""
    return {
        "picture": picture.name,
        "file": picture.file,
        "sha256": picture.digest,
        "size": list(picture.size),
        "settings": dict(own),
        "loss": [[step, round(loss, 6)] for step, loss in curve],
        "stopped": stopped,
        "unet_evaluations": cost.evaluations,
        "seconds": round(cost.seconds, 3),
        "versions": versions(),
    }


def style_weights(mask: Picture, size: tuple[int, int] | None = None) -> Tensor:
    """A style mask as weights (1, 1, H, W) in [0, 1], scaled to ``size`` (width, height) if given.

    Raises StyleError for a mask that is black everywhere.
    """
    weights = (image_to_pixels(mask_levels(mask), size).mean(1, keepdim=True) + 1) / 2
    if weights.sum() < 1:
        raise StyleError("The style mask is black everywhere: paint white what belongs to the style.")
    return weights


def masked_pixels(pixels: Tensor, weights: Tensor) -> Tensor:
    """Pixels (1, 3, H, W) whose weighted mean colour stands where ``weights`` (1, 1, H, W) in [0, 1] are 0."""
    mean = (pixels * weights).sum((2, 3), keepdim=True) / weights.sum()
    return pixels * weights + mean * (1 - weights)
