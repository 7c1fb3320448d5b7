"""ControlNet: a picture of edges or depth holds the forms that a UNet paints (Zhang et al. 2023, arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from velatura.errors import ModelError
from velatura.models.adapters.weights import OTHER_FAMILY, check_finite
from velatura.models.loading.failing import load_reason
from velatura.models.loading.library_logging import quiet_libraries
from velatura.models.unet_call import UNetCall
from velatura.span import WHOLE_RUN, Span

CONFIG, KIND = "config.json", "ControlNetModel"
# What a ControlNet, a copy of a UNet's encoder, shares with that UNet.
SHARED = ("in_channels", "cross_attention_dim", "block_out_channels", "layers_per_block", "addition_embed_type")


@dataclass
class RunPlace:
    """How far the run has come: the share of its steps that is done."""

    progress: float = 0.0


@dataclass(frozen=True, eq=False)
class Control:
    """A ControlNet's part in a UNet's calls: the control ``pictures`` (B, 3, H, W) in [0, 1] of B contents, and how
    much they count (``scale``) while ``place`` lies in the ``span`` of the run.

    Calls have the contents' rows n times over, as guidance stacks them.
    """

    network: Any
    pictures: Tensor
    scale: float = 1.0
    span: Span = WHOLE_RUN
    place: RunPlace = field(default_factory=RunPlace)

    @contextmanager
    def acting(self, unet: Any, call: UNetCall) -> Iterator[UNetCall]:
        """The call with what the ControlNet adds to the UNet's skip connections and its middle."""
        if not self.span.contains(self.place.progress):
            yield call
            return
        pictures = self.pictures.to(call.latents).repeat(len(call.latents) // len(self.pictures), 1, 1, 1)
        down, middle = self.network(
            call.latents,
            call.timesteps,
            encoder_hidden_states=call.states,
            controlnet_cond=pictures,
            conditioning_scale=self.scale,
            added_cond_kwargs=call.arguments.get("added_cond_kwargs"),
            return_dict=False,
        )
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        yield replace(call, arguments={**call.arguments, **residuals})


def load_controlnet(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The ControlNet in a folder that diffusers saved, frozen.

    Raises ModelError where there is none, for another network, and for one that is damaged or incomplete.
    """
    from diffusers import ControlNetModel

    if not (folder / CONFIG).is_file():
        raise ModelError(
            f"There is no ControlNet in {folder}: give the folder, with its {CONFIG}, that diffusers saved."
        )
    try:
        kind = ControlNetModel.load_config(folder, local_files_only=True).get("_class_name", KIND)
        if kind != KIND:
            raise ModelError(f"{folder} holds a {kind}, which is no ControlNet: give the folder of a {KIND}.")
        with quiet_libraries():
            network, found = ControlNetModel.from_pretrained(
                folder, local_files_only=True, torch_dtype=dtype, output_loading_info=True
            )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"The ControlNet in {folder} cannot be loaded: {load_reason(error)}.") from None
    missing = found["missing_keys"]
    if missing:
        raise ModelError(f"The ControlNet in {folder} is incomplete (it lacks {len(missing)} tensors): get it again.")
    check_finite(network.state_dict(), f"The ControlNet in {folder}")
    return network.to(device).requires_grad_(False).eval()


def check_controlnet(network: Any, unet: Any, source: str) -> None:
    """Raise ModelError unless ``network``, called ``source``, is one ControlNet that was made for UNets like this."""
    from diffusers import ControlNetModel

    if not isinstance(network, ControlNetModel):
        raise ModelError(
            f"controlnet takes one ControlNetModel or the folder of one, and was given a {type(network).__name__}: "
            "only one acts at a time."
        )
    ours, theirs = unet.config, network.config
    if any(_plain(getattr(ours, name, None)) != _plain(getattr(theirs, name, None)) for name in SHARED):
        raise ModelError(f"The ControlNet {source} {OTHER_FAMILY}.")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
