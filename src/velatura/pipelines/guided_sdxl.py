"""Loss-guided diffusion as a custom pipeline of diffusers, on Stable Diffusion XL."""

from __future__ import annotations

from diffusers import StableDiffusionXLPipeline

from velatura.pipelines.families import XL
from velatura.pipelines.stylizing import Stylizing


class GuidedXLPipeline(Stylizing, StableDiffusionXLPipeline):  # type: ignore[misc]
    """Loss-guided diffusion under diffusers' argument names; see ``Stylizing``."""

    family = XL
    method_name = "guided"
