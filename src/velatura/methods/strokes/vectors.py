"""The style vector of a style's pictures, by which networks of house paint it."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from velatura.methods.context import RunContext
from velatura.models.house.backbone import HouseBackbone
from velatura.picture import image_to_pixels, plan_size
from velatura.style import Style
from velatura.style.mixing import rescaled
from velatura.style.pictures import weighted_pictures


def style_vector_of(style: Style, context: RunContext[HouseBackbone]) -> Tensor | None:
    """The sum of the standardised vectors (1, 100) of a style's pictures by their shares, computed once; None for a
    style without pictures.
    """
    backbone, pictures = context.backbone, rescaled(weighted_pictures(style))

    def vector() -> Tensor:
        return torch.stack([share * backbone.style_vector(pixels_of(image)) for image, share in pictures]).sum(0)

    def pixels_of(image: Image.Image) -> Tensor:
        large = min(image.size) > backbone.native_size
        return image_to_pixels(image, plan_size(image.size, backbone.native_size, 1).working if large else image.size)

    key = ("style vector", style.identity, backbone.native_size, str(context.device))
    return context.cache.get_or_compute(key, vector) if pictures else None
