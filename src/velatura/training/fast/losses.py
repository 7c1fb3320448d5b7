"""What the student's x0 estimates are measured by: where strokes lie, and which there are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

DIRECTIONS = 32  # of a step


def latent_texture(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared distance of the sorted projections of all 3 x 3 patches of latents (B, C, h, w) along random
    directions (sliced Wasserstein, each picture by itself): whether the same strokes are there, wherever.
    """
    directions = torch.randn(DIRECTIONS, found.shape[1], 3, 3, device=found.device)
    units = directions / directions.flatten(1).norm(dim=1)[:, None, None, None]
    own, other = (F.conv2d(latents, units).flatten(2).sort(2).values for latents in (found, wanted))
    return F.mse_loss(own, other)
