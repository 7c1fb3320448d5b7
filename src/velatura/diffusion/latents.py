"""Statistics and mixing of latents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_GAIN = 2.5

HELD_DEVIATION = 1.5  # in cells: of the Gaussian that parts low frequencies from high


def channel_moments(latents: Tensor) -> Tensor:
    """Means and standard deviations of the channels of latents (B, C, h, w): (2, B, C, 1, 1)."""
    return torch.stack([latents.mean((2, 3), keepdim=True), (latents.var((2, 3), keepdim=True) + 1e-5).sqrt()])


def with_moments(latents: Tensor, moments: Tensor, share: float) -> Tensor:
    """Latents (B, C, h, w) interpolated by ``share`` (0..1) towards the same with ``moments`` (2, 1 or B, C, 1, 1)."""
    mean, deviation = channel_moments(latents)
    target_mean, target_deviation = moments
    return torch.lerp(latents, (latents - mean) / deviation * target_deviation + target_mean, share)


def adain(latents: Tensor, reference: Tensor, share: float) -> Tensor:
    """Latents (B, C, h, w) interpolated by ``share`` (0..1) towards those with the channel means and deviations of
    ``reference`` (Huang & Belongie 2017, eq. 8).
    """
    return with_moments(latents, channel_moments(reference), share)


def near_moments(latents: Tensor, reference: Tensor, share: float, flat_channels: Sequence[int]) -> Tensor:
    """``adain`` whose deviations change by a factor of at most ``MOST_GAIN``, so that no channel that is all but flat
    becomes its noise, and whose means change in ``flat_channels`` only: one value in every cell of a channel that is a
    coefficient of 8 x 8 blocks is a grid of 8 px.
    """
    if not share:
        return latents
    (own_mean, own), (mean, deviation) = channel_moments(latents), channel_moments(reference)
    near = own * (deviation / own).clamp(1 / MOST_GAIN, MOST_GAIN)
    means = own_mean.clone()
    means[:, list(flat_channels)] = mean[:, list(flat_channels)].expand_as(means[:, list(flat_channels)])
    return with_moments(latents, torch.stack([means, near]), share)


def mixed_noise(first: Tensor, second: Tensor, share: float) -> Tensor:
    """(1 - share) first + share second, divided by sqrt((1 - share)^2 + share^2): the variance of two independent
    noises is kept.
    """
    return ((1 - share) * first + share * second) / math.hypot(1 - share, share)


def held(latents: Tensor, reference: Tensor, share: float) -> Tensor:
    """Latents (1, C, h, w) with ``share`` (0..1) of their low frequencies replaced by those of a reference at the same
    level of noise (Choi et al. 2021, ILVR): the mean of about 2 cells about each.
    """
    if not share:
        return latents
    from kornia.filters import gaussian_blur2d

    size = 2 * min(round(3 * HELD_DEVIATION), min(latents.shape[2:]) - 1) + 1
    coarse: Tensor = gaussian_blur2d(reference - latents, size, (HELD_DEVIATION, HELD_DEVIATION))
    return latents + share * coarse
