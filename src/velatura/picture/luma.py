"""The luma of pixels."""

from __future__ import annotations

from torch import Tensor


def luma(pixels: Tensor) -> Tensor:
    """The luma (B, H, W) of RGB pixels (B, 3, H, W), by BT.601's weights."""
    weights = pixels.new_tensor([0.299, 0.587, 0.114])
    return (pixels * weights[:, None, None]).sum(1)
