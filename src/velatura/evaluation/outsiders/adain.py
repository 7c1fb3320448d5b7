"""AdaIN in the model's latent space (Huang and Belongie 2017): one statistic a channel, no denoising."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from velatura.diffusion.latents import adain
from velatura.evaluation.outsiders.base import Outsider
from velatura.methods.validation import Share


@dataclass(frozen=True)
class LatentAdaIN(Outsider):
    """The content's latents with the channels' means and deviations of the style's, ``share`` of the way, decoded."""

    name: ClassVar[str] = "adain"
    share: Share = 1.0

    @torch.no_grad()
    def stylize(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The decoded latents."""
        backbone = self.load()
        ours, theirs = (backbone.encode(pixels.to(backbone.device, backbone.dtype)) for pixels in (content, style))
        return backbone.decode(adain(ours, theirs, self.share)).float().cpu().clamp(-1, 1)
