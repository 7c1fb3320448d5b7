"""What is done to latents outside the sampler."""

from __future__ import annotations

import torch
from torch import Tensor


def adain(latents: Tensor, towards: Tensor, share: float) -> Tensor:
    """Latents (B, C, h, w) with the channel means and deviations of ``towards``, by ``share`` (0..1) of the way."""

    def moments(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + 1e-5).sqrt()

    (mean, deviation), (wanted_mean, wanted_deviation) = moments(latents), moments(towards)
    return torch.lerp(latents, (latents - mean) / deviation * wanted_deviation + wanted_mean, share)
