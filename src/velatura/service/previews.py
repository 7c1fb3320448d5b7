"""Previews: a step's estimate decoded as large as can be without holding the run up."""

from __future__ import annotations

import math
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from velatura.models.backbone import Backbone
from velatura.picture import pixels_to_image
from velatura.service.files import jpeg

SIDE, QUALITY = 512, 75
SECONDS = 0.07  # that a preview may take: with its way to the browser less than 0.1
FIRST_PIXELS, LEAST_PIXELS = 60_000, 25_000  # what a preview is decoded at before anything was timed, and at least


class Previewer:
    """Decodes estimates of a backbone at a size that follows from how long the last one took on this machine."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone, self._pixels = backbone, float(FIRST_PIXELS)

    @torch.no_grad()
    def preview(self, latents: Tensor) -> bytes:
        """A JPEG of latents (1, C, h, w), which are shrunk first where all of them would take too long."""
        began = time.perf_counter()
        small = shrunk(latents, self._pixels / self._backbone.factor**2)
        shown = jpeg(pixels_to_image(self._backbone.decode(small)), SIDE, QUALITY)
        decoded = small.shape[2] * small.shape[3] * self._backbone.factor**2
        self._pixels = max(LEAST_PIXELS, decoded * SECONDS / (time.perf_counter() - began))
        return shown


def shrunk(latents: Tensor, cells: float) -> Tensor:
    """Latents (B, C, h, w) of at most about ``cells`` cells, never enlarged; aspect kept."""
    height, width = latents.shape[2:]
    scale = math.sqrt(cells / (height * width))
    if scale >= 1:
        return latents
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    # Not an area's mean: decoders answer such smooth latents with blocks.
    # In float32: on the CPU there is no antialiasing of the short number formats.
    return F.interpolate(latents.float(), size, mode="bicubic", antialias=True)
