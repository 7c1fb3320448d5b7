"""What a model's UNet is like, read from its configuration alone."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from velatura.models.loading.catalogue import GONE, short_names
from velatura.models.lora import weight_shapes


def unet_shapes(model: str) -> dict[str, tuple[int, ...]] | None:
    """The weight shapes of a model's UNet by module, for a short name, folder or hub id, without loading weights.

    None where the configuration is not on this machine, cannot be read, or is no UNet2DConditionModel's.
    """
    from diffusers import UNet2DConditionModel

    path = _configuration(model)
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
        if config.get("_class_name") != UNet2DConditionModel.__name__:
            return None
        with torch.device("meta"):
            return weight_shapes(UNet2DConditionModel.from_config(config))
    except (OSError, ValueError, TypeError, AttributeError):
        return None  # the model's own loader says what is wrong with it


def _configuration(model: str) -> Path | None:
    known = short_names().get(model)
    place = known.place if known else GONE.get(model, model)
    folder = Path(place)
    if folder.is_dir():
        return folder / "unet" / "config.json"
    if place.count("/") != 1 or place.startswith((".", "/", "~")) or folder.suffix in (".ckpt", ".safetensors", ".pt"):
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(place, "unet/config.json")
    return Path(cached) if isinstance(cached, str) else None
