"""Keeping the grid of the autoencoder's cells out of changes of the latents."""

from __future__ import annotations

import torch
from torch import Tensor

from velatura.diffusion.guidance_scaling import local_means
from velatura.methods.context import RunContext
from velatura.models.backbone import Backbone

PROBE, CELLS = 0.5, 8  # value and side, in latents, of the constant latents that are decoded


@torch.no_grad()
def grid_channels(backbone: Backbone, latents: Tensor) -> Tensor:
    """The channels of ``latents`` (1, C, h, w) whose constant is a grid: (C,), 1 for those, 0 for the others.

    Where channels are coefficients of blocks of pixels, as the house model's are, most are so: their constant decodes
    to one pattern in every cell. On Stable Diffusion's latents a constant is a colour. A model of pixels has none.
    """
    channels = latents.shape[1]
    if backbone.factor == 1:
        return latents.new_zeros(channels)
    constants = PROBE * torch.eye(channels).to(latents)[:, :, None, None].expand(-1, -1, CELLS, CELLS)
    shown = backbone.decode(torch.cat([torch.zeros_like(constants[:1]), constants]))
    rim = 2 * backbone.factor  # what the decoder makes of the border
    change = (shown[1:] - shown[:1])[:, :, rim:-rim, rim:-rim]
    colour = change.mean((2, 3), keepdim=True)
    pattern = (change - colour).square().mean((1, 2, 3))
    return (pattern > colour.square().mean((1, 2, 3))).to(latents)


def kept_grid_channels(latents: Tensor, context: RunContext[Backbone]) -> Tensor:
    """``grid_channels`` of the run's model, found once and kept in the context's cache."""
    key = ("grid channels", context.backbone.fingerprint)
    return context.cache.get_or_compute(key, lambda: grid_channels(context.backbone, latents))


def without_grid(change: Tensor, channels: Tensor) -> Tensor:
    """A change (B, C, h, w) of latents without its mean over 5 x 5 latents in the ``channels`` (C,) of 1; those of less
    lose that share of it.
    """
    return change - channels[:, None, None] * local_means(change)
