"""Pixel distance to the content (the poster's L_content1)."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import LossInput, Targets


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


def luma(pixels: Tensor) -> Tensor:
    """The luma (B, H, W) of RGB pixels (B, 3, H, W), by BT.601's weights."""
    weights = pixels.new_tensor([0.299, 0.587, 0.114])
    return (pixels * weights[:, None, None]).sum(1)
