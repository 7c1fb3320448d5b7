"""Pixel distance to the content (the poster's L_content1)."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import LossInput, Targets
from velatura.picture.luma import luma


class LumaMSE:
    """Mean squared difference of the luma (BT.601) of result and content, pixels in [-1, 1].

    Luma only, so that keeping the drawing does not keep the content's colours (spec, guided-details 3.3).
    """

    name = "mse"
    layers: tuple[str, ...] = ()
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        return (luma(result.pixels) - luma(content.pixels)).square().mean()


class PixelMSE:
    """Mean squared difference of the pixels of result and content in all three colours: the poster's and ZeCon's."""

    name = "mse_rgb"
    layers: tuple[str, ...] = ()
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        return (result.pixels - content.pixels).square().mean()
