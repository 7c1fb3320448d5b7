"""Plain image-to-image with the style in the prompt (SDEdit, Meng et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from velatura.diffusion.denoising import denoise
from velatura.diffusion.guidance import classifier_free
from velatura.diffusion.samplers import Run, make_sampler
from velatura.errors import ModelError
from velatura.evaluation.outsiders.base import Outsider
from velatura.methods.validation import GuidanceScale, Share, Steps
from velatura.models.backbone import Backbone, Conditioning, PictureWords, TextConditioned
from velatura.models.noise_schedule import add_noise, steps_of_strength

WITH_WORD, WITHOUT = "a painting in the style of *", "a painting"


@dataclass(frozen=True)
class ImageToImage(Outsider):
    """The noised content, denoised under a prompt with the style picture's word, where the model reads pictures as
    words, and "a painting" elsewhere; ``strength`` is the share of the ``steps`` that is noised.
    """

    name: ClassVar[str] = "img2img"
    strength: Share = 0.5
    steps: Steps = 30
    guidance_scale: GuidanceScale = 3.0

    @property
    def evaluations(self) -> int:
        """Evaluations of the model's denoising network so far."""
        return self.load().evaluations

    @torch.no_grad()
    def stylize(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The denoised content. Raises ModelError for a model without prompts."""
        backbone = self.load()
        z = backbone.encode(content.to(backbone.device, backbone.dtype))
        run = steps_of_strength(self.steps, self.strength)
        sampler = make_sampler("ddim", backbone.schedule, Run(self.steps, run))
        if run:
            noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)).to(z)
            predict = classifier_free(backbone, _prompt(backbone, style), backbone.unconditional(), self.guidance_scale)
            z = denoise(predict, add_noise(z, noise, sampler.abars[0]), sampler)
        return backbone.decode(z).float().cpu().clamp(-1, 1)


def _prompt(backbone: Backbone, style: Tensor) -> Conditioning:
    if not isinstance(backbone, TextConditioned):
        raise ModelError(f"The model {backbone.name} takes no prompts: leave img2img out of --outsiders.")
    if isinstance(backbone, PictureWords):
        return backbone.encode_prompt([WITH_WORD], backbone.style_word(style.to(backbone.device, backbone.dtype)))
    return backbone.encode_prompt([WITHOUT])
