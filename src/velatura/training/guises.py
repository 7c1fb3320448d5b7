"""What a picture's word has to be good for: telling how a picture is painted that comes in other colours."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.losses.colour import colour_moments, transport_colours
from velatura.training.batches import Batch


def guise_of(batch: Batch, number: int) -> Tensor:
    """A picture of the batch (1, 3, H, W) as somebody may bring it to be restyled.

    A painted picture comes as the photo beneath it, any other in the colours of the next picture of the batch.
    """
    pixels, beneath = batch.pixels[number, None], batch.beneath[number, None]
    if not torch.equal(pixels, beneath):
        return beneath
    following = batch.pixels[(number + 1) % len(batch.pixels), None]
    return transport_colours(pixels, *colour_moments(following), share=1.0)


def disguising(noise: Tensor, latents: Tensor, guise: Tensor, abars: Tensor) -> Tensor:
    """Noise (B, C, h, w) with which ``latents`` at the levels ``abars`` (B,) look like the latents of their guise.

    Under eps + sqrt(abar) (z_guise - z) forward noising gives sqrt(abar) (z + sqrt(1 - abar) (z_guise - z)) +
    sqrt(1 - abar) eps: nearly the guise where there is much noise, the picture itself where there is little. What the
    network is asked for stays the picture.
    """
    disguised: Tensor = noise + abars.sqrt()[:, None, None, None] * (guise - latents)
    return disguised
