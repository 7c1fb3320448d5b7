"""The style pictures inside a style's file."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from velatura.picture import image_to_pixels, plan_size
from velatura.picture.palette import Palette, mixed_palette, palette_of
from velatura.style.mixing import parts_of, rescaled
from velatura.style.style import Style

KEPT_SIDE = 512  # the largest short side, in pixels, of a kept picture


def kept_image(image: Image.Image) -> Image.Image:
    """The picture as a style keeps it: scaled down where its short side is over ``KEPT_SIDE`` pixels."""
    return image.resize(plan_size(image.size, KEPT_SIDE, 1).working) if min(image.size) > KEPT_SIDE else image


def picture_tensor(image: Image.Image) -> Tensor:
    """The picture as a tensor of a style's file: (3, H, W) bytes."""
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).contiguous()


def pictures_of(style: Style) -> list[tuple[Image.Image, float]]:
    """The pictures of a style, or of a mix of styles, with their shares of it; empty for one without pictures."""
    names = sorted(name for name in style.tensors if name.startswith("picture."))
    shares = style.card.get("shares", [1.0] * len(names))
    arrays = (style.tensors[name].permute(1, 2, 0).contiguous().numpy() for name in names)
    return [(Image.fromarray(array), float(share)) for array, share in zip(arrays, shares, strict=True)]


def weighted_pictures(style: Style) -> list[tuple[Image.Image, float]]:
    """``pictures_of`` each part of a style, with their shares of the whole."""
    return [(image, share * own) for part, share in parts_of(style) for image, own in pictures_of(part)]


def palette_of_style(style: Style) -> Palette | None:
    """The palette of a style's pictures, by their shares; None for a style without pictures."""
    found = [(palette_of(image_to_pixels(image)), share) for image, share in weighted_pictures(style)]
    return mixed_palette(rescaled(found)) if found else None
