"""The IP-Adapter that diffusers' ``load_ip_adapter`` has put on a pipeline, for the methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from velatura.errors import SettingError
from velatura.methods.adapters.given import GivenAdapters
from velatura.models.adapters.ip_adapter import IPAdapter, ip_adapter_of, is_loaded, taken_off, with_processors
from velatura.models.adapters.picture_encoder import PictureEncoder


@dataclass(frozen=True, eq=False)
class Aside:
    """What is ``given`` to a run. While ``shown`` is open, the pipeline's IP-Adapter is where diffusers' methods find
    it, and the run goes on with the scales that it has afterwards.
    """

    given: GivenAdapters
    shown: Callable[[], AbstractContextManager[None]] = nullcontext


@contextmanager
def set_aside(pipeline: Any, given: GivenAdapters) -> Iterator[Aside]:
    """While open, a pipeline's UNet is without the IP-Adapter that was loaded on it, which is yielded with what else
    is ``given``.

    Raises SettingError for an adapter without an image encoder, and for scales of several masks.
    """
    unet = pipeline.components.get("unet")
    if unet is None or not is_loaded(unet):
        yield Aside(given)
        return
    if pipeline.image_encoder is None:
        raise SettingError("The IP-Adapter has no image encoder: load it again without image_encoder_folder=None.")
    encoder = PictureEncoder(pipeline.image_encoder, pipeline._execution_device)
    adapter = ip_adapter_of(unet, "of load_ip_adapter", encoder)
    scales = _scales(adapter)

    @contextmanager
    def shown() -> Iterator[None]:
        for name, processor in adapter.processors.items():
            processor.scale = [scales[name]]
        with with_processors(unet, adapter.processors):
            yield
        scales.update(_scales(adapter))

    with taken_off(unet):
        yield Aside(replace(given, ip_adapter=adapter, ip_adapter_scales=scales), shown)


def _scales(adapter: IPAdapter) -> dict[str, float]:
    """The scale of each attention. Raises SettingError for those of several masks."""
    scales = {name: processor.scale[0] for name, processor in adapter.processors.items()}
    if any(isinstance(scale, list) for scale in scales.values()):
        raise SettingError("An IP-Adapter with masks is not supported: set_ip_adapter_scale takes one number a block.")
    return scales
