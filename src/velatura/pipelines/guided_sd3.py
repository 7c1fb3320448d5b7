"""Loss-guided diffusion as a custom pipeline of diffusers, on Stable Diffusion 3."""

from __future__ import annotations

from diffusers import StableDiffusion3Pipeline

from velatura.pipelines.families import SD3
from velatura.pipelines.stylizing import Stylizing


class GuidedSD3Pipeline(Stylizing, StableDiffusion3Pipeline):  # type: ignore[misc]
    """Loss-guided diffusion under diffusers' argument names; see ``Stylizing``."""

    family = SD3
    method_name = "guided"
