"""What the fits of all methods share: whose they are, what their card says, where a style picture counts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from velatura.errors import StyleError
from velatura.methods.base import versions
from velatura.models.backbone import Backbone
from velatura.picture import Picture, image_to_pixels


def fit_settings(settings: Any, cls: type[Any]) -> dict[str, Any]:
    """Those of a method's settings that ``cls`` declares: what its fit depends on."""
    return {field: value for field, value in asdict(settings).items() if field in cls.__dataclass_fields__}


def fit_identity(picture: Picture, mask: Picture | None, backbone: Backbone, own: Mapping[str, Any]) -> str:
    """What a checkpoint belongs to: the picture, its mask, the base model and the fit's settings."""
    return json.dumps([picture.digest, mask.digest if mask else "", backbone.fingerprint, own], sort_keys=True)


def fit_card(
    picture: Picture, own: Mapping[str, Any], curve: Sequence[tuple[int, float]], stopped: str, evaluations: int
) -> dict[str, Any]:
    """A fitted style's card: its picture, settings, loss by step, why it stopped, cost and versions."""
    return {
        "picture": picture.name,
        "sha256": picture.digest,
        "size": list(picture.size),
        "settings": dict(own),
        "loss": [[step, round(loss, 6)] for step, loss in curve],
        "stopped": stopped,
        "unet_evaluations": evaluations,
        "versions": versions(),
    }


def style_weights(mask: Picture, size: tuple[int, int] | None = None) -> Tensor:
    """Where the style counts, (1, 1, H, W) in [0, 1], scaled to ``size`` (width, height) if given.

    Raises StyleError for a mask that is black everywhere.
    """
    weights = (image_to_pixels(mask.image, size).mean(1, keepdim=True) + 1) / 2
    if weights.sum() < 1:
        raise StyleError("The style mask is black everywhere: paint white what belongs to the style.")
    return weights


def counted(pixels: Tensor, weights: Tensor) -> Tensor:
    """Pixels (1, 3, H, W) of which nothing is seen where ``weights`` (1, 1, H, W) are 0: there it is the mean colour
    of what counts.
    """
    mean = (pixels * weights).sum((2, 3), keepdim=True) / weights.sum()
    return pixels * weights + mean * (1 - weights)
