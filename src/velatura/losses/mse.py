"""Pixel distance to the content (the poster's L_content1)."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import Targets, View


class PixelMSE:
    """Mean squared difference of the luma (BT.601) of result and content.

    Luma only, so that keeping the drawing does not pin the content's colours (spec, guided-details 3.3).
    """

    name = "mse"
    layers: tuple[str, ...] = ()

    def __init__(self, targets: Targets) -> None:
        self.content = luma(targets.content.pixels)

    def __call__(self, view: View) -> Tensor:
        return (luma(view.pixels) - self.content).square().mean()


def luma(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, H, W)."""
    weights = pixels.new_tensor([0.299, 0.587, 0.114])
    return (pixels * weights[:, None, None]).sum(1)
