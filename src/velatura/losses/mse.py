"""Pixel distance to the content (the poster's L_content1)."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import Targets, View


class LumaMSE:
    """Mean squared difference of the luma (BT.601) of result and content.

    Luma only, so that keeping the drawing does not pin the content's colours (spec, guided-details 3.3).
    """

    name = "mse"
    layers: tuple[str, ...] = ()
    encodes = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, view: View, content: View) -> Tensor:
        return (luma(view.pixels) - luma(content.pixels)).square().mean()


class PixelMSE:
    """Mean squared difference of all three colours: the poster's and ZeCon's."""

    name = "mse_rgb"
    layers: tuple[str, ...] = ()
    encodes = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, view: View, content: View) -> Tensor:
        return (view.pixels - content.pixels).square().mean()


def luma(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, H, W)."""
    weights = pixels.new_tensor([0.299, 0.587, 0.114])
    return (pixels * weights[:, None, None]).sum(1)
