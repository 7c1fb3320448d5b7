"""ControlNet: a picture of edges or depth holds the forms that a UNet paints (Zhang et al. 2023, arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from velatura.errors import ModelError, first_line
from velatura.models.loading.library_logging import quiet_libraries
from velatura.models.unet_call import UNetCall
from velatura.span import WHOLE_RUN, Span

CONFIG = "config.json"
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
    """The ControlNet in a folder that diffusers saved, frozen. Raises ModelError where there is none."""
    from diffusers import ControlNetModel

    if not (folder / CONFIG).is_file():
        raise ModelError(
            f"There is no ControlNet in {folder}: give the folder, with its {CONFIG}, that diffusers saved."
        )
    try:
        with quiet_libraries():
            network = ControlNetModel.from_pretrained(folder, local_files_only=True, torch_dtype=dtype)
    except Exception as error:
        reason = first_line(error)[:120]
        raise ModelError(f"The ControlNet in {folder} cannot be loaded: {reason}.") from None
    return network.to(device).requires_grad_(False).eval()


def check_controlnet(network: Any, unet: Any, source: str) -> None:
    """Raise ModelError unless a ControlNet called ``source`` was made for UNets like this one."""
    ours, theirs = unet.config, network.config
    if any(_plain(getattr(ours, name, None)) != _plain(getattr(theirs, name, None)) for name in SHARED):
        raise ModelError(
            f"The ControlNet {source} was made for another family of models: use one for Stable Diffusion 1.x with "
            "that, and one for SDXL with SDXL."
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
