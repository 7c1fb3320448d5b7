"""The size that loss-guided diffusion works at."""

from __future__ import annotations

from velatura.models.backbone import Backbone
from velatura.picture import plan_size

# Below the first, the latent cells of 8 px show in the result; above the second, it takes longer than people wait.
SMALLEST_USUAL_SIZE, LARGEST_USUAL_SIZE = 384, 512


def usual_size(size: tuple[int, int], asked: int, backbone: Backbone) -> tuple[int, int]:
    """The working size (width, height) for a picture of ``size`` whose short side is to be ``asked`` pixels.

    With ``asked`` 0 it is the picture's own short side, at least 384 and the model's native size, at most 512; a model
    of pixels, which has no latent cells, works at its native size. Raises SettingError for a size below 64.
    """
    if backbone.factor == 1:
        return plan_size(size, asked or backbone.native_size, backbone.multiple).working
    usual = max(backbone.native_size, SMALLEST_USUAL_SIZE, min(min(size), LARGEST_USUAL_SIZE))
    return plan_size(size, asked or usual, backbone.multiple).working
