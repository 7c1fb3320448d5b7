"""Gaussian and binomial blur of pixels and maps."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def blurred(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (B, C, H, W), borders reflected, cut off at three ``sigma`` (pixels); the shape stays."""
    from kornia.filters import gaussian_blur2d

    reach = min(round(3 * sigma), min(maps.shape[2:]) - 1)
    result: Tensor = gaussian_blur2d(maps, (2 * reach + 1, 2 * reach + 1), (sigma, sigma), border_type="reflect")
    return result


def binomial(maps: Tensor, border: str) -> Tensor:
    """Maps (B, C, H, W) under the filter (1, 2, 1) / 4 along both axes, beyond the ``border`` as ``F.pad`` continues
    them ("reflect", "replicate"); kornia's takes three times as long.
    """
    padded = F.pad(maps, [1, 1, 1, 1], mode=border)
    along = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4
    return (along[..., :-2, :] + 2 * along[..., 1:-1, :] + along[..., 2:, :]) / 4
