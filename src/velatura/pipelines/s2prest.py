"""S2PreST as a custom pipeline of diffusers, on the house model and Stable Diffusion 1.x and 2.x."""

from __future__ import annotations

from diffusers import StableDiffusionPipeline

from velatura.pipelines.families import SD
from velatura.pipelines.stylizing import Stylizing


class S2PreSTPipeline(Stylizing, StableDiffusionPipeline):  # type: ignore[misc]
    """S2PreST under diffusers' argument names; see ``Stylizing``."""

    family = SD
    method_name = "s2prest"
