"""Canny's edges of a picture: dark lines on white."""

from __future__ import annotations

from torch import Tensor


def canny_edges(pixels: Tensor, low: float = 0.0, high: float = 0.0) -> Tensor:
    """Canny's edges of (B, 3, H, W) in [-1, 1], inverted, same shape and range.

    With ``high`` 0: the gradient's magnitude after non-maximum suppression, clamped to [0, 1] (S2PreST's edge
    picture). Otherwise the edges that hysteresis keeps between the thresholds, black. kornia's Canny:
    5x5 Gaussian, sigma 1, Sobel not normalised.
    """
    from kornia.filters import canny

    unit = (pixels.clamp(-1, 1) + 1) / 2
    thresholds = {"low_threshold": low, "high_threshold": high} if high > 0 else {}
    magnitude, kept = canny(unit, **thresholds)
    strength = kept if high > 0 else magnitude
    drawn: Tensor = 1 - 2 * strength.clamp(0, 1)
    return drawn.expand(-1, 3, -1, -1)
