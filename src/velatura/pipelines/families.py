"""The families of models that the pipelines are for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from velatura.errors import ModelError

SD, XL = "Stable Diffusion 1.x and 2.x and house", "Stable Diffusion XL"
SD3, FLUX = "Stable Diffusion 3 and 3.5", "FLUX.1"
TRANSFORMERS: Mapping[str, str] = {"SD3Transformer2DModel": SD3, "FluxTransformer2DModel": FLUX}


def check_family(parts: Mapping[str, Any], family: str, pipeline: str) -> None:
    """Raise ModelError where a pipeline for a ``family`` is made of another one's ``parts``."""
    own = family_of(parts)
    if own not in (None, family):
        raise ModelError(
            f"{pipeline} is for {family}, and this model is of {own}: load it with the pipeline_path that is for that "
            "(docs/diffusers.md lists them)."
        )


def family_of(parts: Mapping[str, Any]) -> str | None:
    """The family that the denoising network among ``parts`` is of; None without one that is known."""
    unet, transformer = parts.get("unet"), parts.get("transformer")
    if unet is not None and hasattr(unet, "config"):
        return XL if unet.config.get("addition_embed_type") == "text_time" else SD
    return TRANSFORMERS.get(type(transformer).__name__)
