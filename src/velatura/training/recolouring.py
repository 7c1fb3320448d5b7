"""Recoloured training pictures: the word tells of a picture whose content comes in other colours."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.picture.colour import colour_moments, transport_colours
from velatura.training.batches import Batch


def recoloured(batch: Batch, number: int) -> Tensor:
    """A picture of the batch (1, 3, H, W) in other colours, as a content that is to be restyled has them.

    A painted picture becomes the photo beneath it; any other takes the colours of the next picture of the batch.
    """
    pixels, beneath = batch.pixels[number, None], batch.beneath[number, None]
    if not torch.equal(pixels, beneath):
        return beneath
    following = batch.pixels[(number + 1) % len(batch.pixels), None]
    return transport_colours(pixels, *colour_moments(following), share=1.0)


def recolouring_noise(noise: Tensor, latents: Tensor, recoloured_latents: Tensor, abars: Tensor) -> Tensor:
    """Noise (B, C, h, w) with which ``latents`` at the levels ``abars`` (B,) look like the recoloured ones.

    Under eps + sqrt(abar) (z' - z), with z' recoloured, forward noising gives
    sqrt(abar) (z + sqrt(1 - abar) (z' - z)) + sqrt(1 - abar) eps: nearly z' where there is much noise, z where there is
    little. The target of the network stays z.
    """
    shifted: Tensor = noise + abars.sqrt()[:, None, None, None] * (recoloured_latents - latents)
    return shifted
