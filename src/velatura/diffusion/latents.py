"""What is done to latents outside the sampler."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def channel_moments(latents: Tensor) -> Tensor:
    """Means and deviations of the channels of latents (B, C, h, w): (2, B, C, 1, 1)."""
    return torch.stack([latents.mean((2, 3), keepdim=True), (latents.var((2, 3), keepdim=True) + 1e-5).sqrt()])


def with_moments(latents: Tensor, wanted: Tensor, share: float) -> Tensor:
    """Latents (B, C, h, w) given ``wanted`` means and deviations (2, 1 or B, C, 1, 1), ``share`` (0..1) of the way."""
    mean, deviation = channel_moments(latents)
    wanted_mean, wanted_deviation = wanted
    return torch.lerp(latents, (latents - mean) / deviation * wanted_deviation + wanted_mean, share)


def adain(latents: Tensor, towards: Tensor, share: float) -> Tensor:
    """Latents (B, C, h, w) with the channel means and deviations of ``towards``, by ``share`` (0..1) of the way."""
    return with_moments(latents, channel_moments(towards), share)


def mixed_noise(ours: Tensor, theirs: Tensor, share: float) -> Tensor:
    """(1 - share) ours + share theirs, over what keeps the spread of two independent noises of one size."""
    return ((1 - share) * ours + share * theirs) / math.hypot(1 - share, share)
