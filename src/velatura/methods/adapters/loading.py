"""Adapters from their files, kept for the next run."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from torch import Tensor

from velatura.errors import ModelError
from velatura.methods.adapters.settings import AdapterSettings
from velatura.methods.context import RunContext
from velatura.models.adapters.ip_adapter import IPAdapter, make_ip_adapter
from velatura.models.adapters.ip_adapter_files import find_image_encoder, find_ip_adapter, read_ip_adapter
from velatura.models.adapters.picture_encoder import PictureEncoder
from velatura.models.adapters.weights import check_finite
from velatura.models.backbone import Backbone
from velatura.models.lora_files import read_lora


def loaded_ip_adapter(settings: AdapterSettings, context: RunContext[Backbone], unet: Any) -> IPAdapter:
    """The IP-Adapter that is named, for this UNet."""
    file = find_ip_adapter(settings.ip_adapter)
    try:
        folder = find_image_encoder(file, settings.ip_adapter_encoder)
    except ModelError:
        read_ip_adapter(file)  # what is no IP-Adapter at all says that instead
        raise
    encoder_key = file_key("picture encoder", folder / "config.json", context)

    def encoder() -> PictureEncoder:
        return context.cache.get_or_compute(encoder_key, lambda: PictureEncoder.load(folder, context.device))

    key = (*file_key("ip adapter", file, context), context.backbone.fingerprint, encoder_key)
    return context.cache.get_or_compute(key, lambda: make_ip_adapter(read_ip_adapter(file), unet, encoder()))


def loaded_step_lora(file: Path, context: RunContext[Backbone]) -> dict[str, Tensor]:
    """The adapter in a LoRA's file. Raises ModelError where there is none and for weights that are not finite,
    StyleError for what is no LoRA.
    """
    if not file.is_file():
        raise ModelError(f"There is no LoRA {file}: check the name of step_lora's file.")

    def load() -> dict[str, Tensor]:
        adapter = read_lora(file)
        check_finite(adapter, f"The LoRA {file}")
        return adapter

    return context.cache.get_or_compute(file_key("step lora", file, context), load)


def file_key(what: str, file: Path, context: RunContext[Backbone]) -> tuple[Hashable, ...]:
    """A key of what is loaded from a file, which tells it from an earlier one in its place."""
    state, place = file.stat(), (str(context.device), str(context.backbone.dtype))
    return what, str(file.resolve()), state.st_size, state.st_mtime_ns, *place
