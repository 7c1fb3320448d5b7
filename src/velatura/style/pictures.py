"""The pictures that a style carries with it."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from velatura.picture import plan_size
from velatura.style.style import Style

KEPT_SIDE = 512  # the short side in pixels that a style's picture is kept with at most


def kept_image(image: Image.Image) -> Image.Image:
    """The picture no larger than a style carries it."""
    return image.resize(plan_size(image.size, KEPT_SIDE, 1).working) if min(image.size) > KEPT_SIDE else image


def picture_tensor(image: Image.Image) -> Tensor:
    """A style's picture as it is kept: (3, H, W) bytes."""
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).contiguous()


def pictures_of(style: Style) -> list[tuple[Image.Image, float]]:
    """The pictures that a style, or a mix of styles, was fitted on, with their shares."""
    names = sorted(name for name in style.tensors if name.startswith("picture."))
    shares = style.card.get("shares", [1.0] * len(names))
    arrays = (style.tensors[name].permute(1, 2, 0).contiguous().numpy() for name in names)
    return [(Image.fromarray(array), float(share)) for array, share in zip(arrays, shares, strict=True)]
