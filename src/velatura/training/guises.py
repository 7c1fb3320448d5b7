"""What a picture's word has to be good for: telling how a picture is painted that comes in other colours."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.losses.colour import colour_moments, transport_colours
from velatura.training.batches import Batch


def guises(batch: Batch) -> Tensor:
    """Each picture (B, 3, H, W) as somebody may bring it to be restyled.

    A painted picture comes as the photo beneath it, any other in the colours of the next picture of the batch.
    """
    recoloured = [
        transport_colours(pixels[None], *colour_moments(other[None]), share=1.0)[0]
        for pixels, other in zip(batch.pixels, batch.pixels.roll(-1, 0), strict=True)
    ]
    painted = (batch.pixels != batch.beneath).flatten(1).any(1)
    return torch.where(painted[:, None, None, None], batch.beneath, torch.stack(recoloured))


def disguising(noise: Tensor, latents: Tensor, guise: Tensor, abars: Tensor) -> Tensor:
    """Noise (B, C, h, w) with which ``latents`` at the levels ``abars`` (B,) look like the latents of their guise.

    Under eps + sqrt(abar) (z_guise - z) forward noising gives sqrt(abar) (z + sqrt(1 - abar) (z_guise - z)) +
    sqrt(1 - abar) eps: nearly the guise where there is much noise, the picture itself where there is little. What the
    network is asked for stays the picture.
    """
    disguised: Tensor = noise + abars.sqrt()[:, None, None, None] * (guise - latents)
    return disguised
