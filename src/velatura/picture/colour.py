"""The colours of a picture: their moments, and moving them to those of another picture."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-4  # added to the covariance's diagonal, so that a picture of one colour has a factor too


def colour_moments(pixels: Tensor, shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean (3,) and lower Cholesky factor (3, 3) of the covariance of the RGB colours of (B, 3, H, W).

    ``shares`` (B, 1, H, W), not all zero, are the pixels' weights; without them all weigh the same.
    """
    colours = pixels.transpose(0, 1).flatten(1).float()
    weights = torch.ones_like(colours[0]) if shares is None else shares.flatten().float()
    weights = weights / weights.sum()
    mean = colours @ weights
    centred = colours - mean[:, None]
    covariance = (weights * centred) @ centred.T
    factor: Tensor = torch.linalg.cholesky(covariance + FLOOR * torch.eye(3, device=pixels.device))
    return mean, factor


def transport_colours(
    pixels: Tensor, mean: Tensor, factor: Tensor, share: float, shares: Tensor | None = None
) -> Tensor:
    """Move the colours of (1, 3, H, W) by ``share`` (0..1) of the way to a mean (3,) and Cholesky factor (3, 3).

    Their own moments are those of the pixels weighted by ``shares`` (1, 1, H, W). The map is the linear optimal
    transport (Monge-Kantorovich), C^-1/2 (C^1/2 S C^1/2)^1/2 C^-1/2, between the covariances C and S (Pitie and Kokaram
    2007).
    Returns pixels in [-1, 1].
    """
    own_mean, own_factor = colour_moments(pixels, shares)
    root = _symmetric_power(own_factor @ own_factor.T, 0.5)
    inverse = _symmetric_power(own_factor @ own_factor.T, -0.5)
    transport = inverse @ _symmetric_power(root @ factor @ factor.T @ root, 0.5) @ inverse
    moved = torch.einsum("ij,bjhw->bihw", transport, pixels - own_mean[:, None, None]) + mean[:, None, None]
    return torch.lerp(pixels, moved, share).clamp(-1, 1)


def _symmetric_power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    power: Tensor = vectors @ torch.diag(values.clamp(min=FLOOR**2) ** exponent) @ vectors.T
    return power
