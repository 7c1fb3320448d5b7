"""The style vector of a style's pictures, by which networks of house paint it."""

from __future__ import annotations

import torch
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
        sizes = [plan_size(image.size, min(backbone.native_size, *image.size), 1).working for image, _ in pictures]
        vectors = [
            share * backbone.style_vector(image_to_pixels(image, size))
            for (image, share), size in zip(pictures, sizes, strict=True)
        ]
        return torch.stack(vectors).sum(0)

    key = ("style vector", style.identity, backbone.native_size, str(context.device))
    return context.cache.get_or_compute(key, vector) if pictures else None
