"""A ControlNet on the model for the time of a run, which follows the run's contents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from velatura.errors import SettingError
from velatura.methods.adapters.control import EDGES, PlacedProgress, control_picture
from velatura.methods.adapters.given import GivenAdapters
from velatura.methods.adapters.loading import file_key
from velatura.methods.adapters.settings import AdapterSettings
from velatura.methods.context import RunContext
from velatura.models.adapters.controlnet import CONFIG, Control, RunPlace, check_controlnet, load_controlnet
from velatura.models.adapters.weights import digest_of
from velatura.models.backbone import Adaptable, Backbone
from velatura.models.fingerprint import own_weights

if TYPE_CHECKING:
    from velatura.methods.base import WorkingPicture


ONE_PHOTO = "A control picture belongs to one photo: give the photos one by one, or use control=canny."


def controls(settings: AdapterSettings, given: GivenAdapters) -> bool:
    """Whether a ControlNet acts in a run."""
    return bool(settings.control_scale) and (bool(settings.controlnet) or given.controlnet is not None)


def names_control_picture(settings: Mapping[str, Any]) -> bool:
    """Whether settings that are asked for name a picture for a ControlNet to follow, instead of the photo's edges."""
    return bool(settings.get("controlnet")) and settings.get("control", "canny") not in EDGES


def check_control(settings: AdapterSettings, given: GivenAdapters, contents: int) -> None:
    """Raise SettingError for a control that is neither edges nor a picture, for one picture of several ``contents``,
    and for a span that is none.
    """
    settings.control_span.check("control_start and control_end")
    follows_edges = given.control_image is None and settings.control in EDGES
    if given.control_image is None and not follows_edges and not Path(settings.control).is_file():
        raise SettingError(
            f"control must be {', '.join(EDGES)} or a picture (the photo's depth or edges), not '{settings.control}'."
        )
    if contents > 1 and not follows_edges:
        raise SettingError(ONE_PHOTO)


def loaded_controlnet(settings: AdapterSettings, context: RunContext[Backbone], unet: Any) -> Any:
    """The ControlNet that is given or named, checked against the UNet. Raises ModelError where it does not fit."""
    network, folder = context.given.controlnet, Path(settings.controlnet)
    if network is None:

        def load() -> Any:
            return load_controlnet(folder, context.device, context.backbone.dtype)

        config = folder / CONFIG
        # Without the file, load says so.
        network = (
            context.cache.get_or_compute(file_key("controlnet", config, context), load) if config.is_file() else load()
        )
    check_controlnet(network, unet, settings.controlnet or "that was given")
    return network


def controlnet_digest(settings: AdapterSettings, context: RunContext[Backbone], network: Any) -> str:
    """A hash of all weights of the ControlNet of a run; of one that is named it is kept as long as that."""
    config = Path(settings.controlnet) / CONFIG
    if context.given.controlnet is not None or not config.is_file():
        return digest_of(own_weights(network))
    key = file_key("controlnet digest", config, context)
    return context.cache.get_or_compute(key, lambda: digest_of(own_weights(network)))


@contextmanager
def controlled(
    settings: AdapterSettings, contents: Sequence[WorkingPicture], context: RunContext[Any]
) -> Iterator[RunContext[Any]]:
    """While open, the ControlNet that ``settings`` name holds the forms of ``contents`` in each denoising call of a run
    in the context that is yielded.
    """
    given = context.given
    if not controls(settings, given):
        yield context
        return
    backbone = cast("Adaptable", context.backbone)  # joined has checked it
    network = loaded_controlnet(settings, context, backbone.unet)
    pictures = [
        control_picture(settings.control, given.control_image, content.pixels(), content.part) for content in contents
    ]
    place = RunPlace()
    control = Control(network, torch.cat(pictures), settings.control_scale, settings.control_span, place)
    with backbone.joined_by([control]):
        yield replace(context, progress=PlacedProgress(context.progress, place))
