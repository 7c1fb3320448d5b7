"""Gaussian blur of pixels and maps."""

from __future__ import annotations

from torch import Tensor


def blurred(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, H, W), borders reflected, cut off at three ``sigma`` (pixels); the shape stays."""
    from kornia.filters import gaussian_blur2d

    reach = min(round(3 * sigma), min(maps.shape[2:]) - 1)
    result: Tensor = gaussian_blur2d(maps, (2 * reach + 1, 2 * reach + 1), (sigma, sigma), border_type="reflect")
    return result
