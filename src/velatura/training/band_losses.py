"""Losses by bands of the timesteps, on pictures that a model was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from velatura.models.noise_schedule import add_noise

BANDS = 10  # of the timesteps


def loss_by_band(predict: Callable[[Tensor, int], Tensor], latents: Tensor, abars: Sequence[float]) -> list[float]:
    """Mean squared error of the predicted noise of ``latents`` (B, C, h, w) in the middle of each of ten bands of the
    timesteps, whose alpha-bars are ``abars``, for fixed noise; ``predict`` maps x_t and a timestep to the noise.
    """
    generator, losses = torch.Generator().manual_seed(0), []
    width = len(abars) // BANDS
    for timestep in range(width // 2, width * BANDS, width):
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        predicted = predict(add_noise(latents, noise, abars[timestep]), timestep)
        losses.append(round((predicted - noise).square().mean().item(), 5))
    return losses
