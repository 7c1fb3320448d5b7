"""The node that loads a model."""

from __future__ import annotations

from velatura import Studio

from .calling import as_node
from .progress import NodeProgress
from .settings import CATEGORY, Inputs


class LoadModel:
    """A model: house, a short name, a folder, a file or a hub id."""

    RETURN_TYPES = ("VELATURA_MODEL",)
    RETURN_NAMES = ("model",)
    FUNCTION = "load"
    CATEGORY = CATEGORY
    DESCRIPTION = "house comes with the package; others are diffusers folders, files or hub ids."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802 (ComfyUI's name)
        return {
            "required": {
                "model": ("STRING", {"default": "house"}),
                "device": (["auto", "cpu", "cuda", "mps"],),
                "dtype": (["auto", "fp32", "bf16", "fp16"],),
            }
        }

    @as_node
    def load(self, model: str, device: str, dtype: str) -> tuple[Studio]:
        studio = Studio(model, device, dtype, progress=NodeProgress())
        assert studio.backbone  # loaded now: an error belongs to this node
        return (studio,)
