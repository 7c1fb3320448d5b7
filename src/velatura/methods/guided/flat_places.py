"""Gradients of latents in flat places: smooth, because noise in them would be seen as squares of the cells' size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.picture.blur import blurred

SMOOTHING = 2.0  # latents: the deviation of the blur


def flatness(detail: Tensor, latents: Tensor) -> Tensor:
    """How flat a content is at each of its ``latents`` (1, C, h, w), by its ``local_detail`` (1, 1, H, W), in 0..1:
    (1, 1, h, w), 0 where that is 1.
    """
    # The root counts places of middling detail, such as cheeks, among the flat ones.
    return (1 - F.interpolate(detail, latents.shape[2:], mode="area")).clamp(0, 1).sqrt()


def smoothed(gradient: Tensor, flat: Tensor) -> Tensor:
    """A gradient (B, C, h, w) of latents, blurred as far as places are ``flat`` (1, 1, h, w), in 0..1.

    Losses of distributions pull pixels of nearly one colour apart by their order alone: what that leaves of a cell is
    noise, and its neighbour's differs.
    """
    return torch.lerp(gradient, blurred(gradient, SMOOTHING), flat.to(gradient))
