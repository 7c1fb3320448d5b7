"""The size that loss-guided diffusion works at."""

from __future__ import annotations

from velatura.models.backbone import Backbone
from velatura.picture import Sizing, plan_size

# Below the first, the latent cells of 8 px show in the result; the second is what people wait for.
SMALLEST_USUAL_SIZE, LARGEST_USUAL_SIZE = 384, 512


def usual_sizing(size: tuple[int, int], asked: int, backbone: Backbone) -> Sizing:
    """The working size for a picture of ``size`` whose short side is to be ``asked`` (0: its own within limits).

    A model of pixels works at its native size, having no cells.
    """
    if backbone.factor == 1:
        return plan_size(size, asked or backbone.native_size, backbone.multiple)
    usual = max(backbone.native_size, SMALLEST_USUAL_SIZE, min(min(size), LARGEST_USUAL_SIZE))
    return plan_size(size, asked or usual, backbone.multiple)
