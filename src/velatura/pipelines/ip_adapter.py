"""The IP-Adapter that diffusers' ``load_ip_adapter`` has put on a pipeline, for the methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from velatura.errors import SettingError
from velatura.methods.adapters.given import GivenAdapters
from velatura.models.adapters.ip_adapter import ip_adapter_of, is_loaded, taken_off
from velatura.models.adapters.picture_encoder import PictureEncoder


@contextmanager
def set_aside(pipeline: Any, given: GivenAdapters) -> Iterator[GivenAdapters]:
    """While open, a pipeline's UNet is without the IP-Adapter that was loaded on it, which is yielded with what else
    is ``given``.

    Raises SettingError for an adapter without an image encoder, and for scales of several masks.
    """
    unet = pipeline.components.get("unet")
    if unet is None or not is_loaded(unet):
        yield given
        return
    if pipeline.image_encoder is None:
        raise SettingError("The IP-Adapter has no image encoder: load it again without image_encoder_folder=None.")
    encoder = PictureEncoder(pipeline.image_encoder, pipeline._execution_device)
    adapter = ip_adapter_of(unet, "load_ip_adapter", encoder)
    scales = {name: processor.scale[0] for name, processor in adapter.processors.items()}
    if any(isinstance(scale, list) for scale in scales.values()):
        raise SettingError("An IP-Adapter with masks is not supported: set_ip_adapter_scale takes one number a block.")
    with taken_off(unet):
        yield replace(given, ip_adapter=adapter, ip_adapter_scales=scales)
