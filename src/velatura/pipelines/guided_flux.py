"""Loss-guided diffusion as a custom pipeline of diffusers, on FLUX.1."""

from __future__ import annotations

from diffusers import FluxPipeline

from velatura.pipelines.families import FLUX
from velatura.pipelines.stylizing import Stylizing


class GuidedFluxPipeline(Stylizing, FluxPipeline):  # type: ignore[misc]
    """Loss-guided diffusion under diffusers' argument names; see ``Stylizing``."""

    family = FLUX
    method_name = "guided"
