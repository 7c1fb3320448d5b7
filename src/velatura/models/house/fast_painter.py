"""The house model with its fast adapter: predictions for a content that stands beside the noisy latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from velatura.errors import ModelError
from velatura.models.adapters.weights import digest_of
from velatura.models.backbone import Conditioning
from velatura.models.house.fast_adapter import adapted, fast_unet, v_beside
from velatura.tensor_file import DamagedFileError, read_tensors, write_tensors

ADAPTER_FILE = "fast_adapter.safetensors"
BASE = "base"  # the metadata's entry for the fingerprint of the UNet that an adapter was trained on
PROMPT = "a painting in the style of *"  # its training's only prompt


@dataclass(frozen=True, eq=False)
class PaintedStyle:
    """Styles as the fast UNet takes them: text ``states`` (B, L, W) of their words and style ``vector``s (B, 100)."""

    states: Tensor
    vector: Tensor

    @property
    def conditioning(self) -> Conditioning:
        """The word alone, as the model's own UNet takes it."""
        return Conditioning(self.states)


class FastPainter:
    """A fast UNet with its adapter in it, of which ``digest`` is a hash; the model's own UNet is another."""

    def __init__(
        self, unet: UNet2DConditionModel, adapter: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        own = fast_unet(unet)
        changes = {name: value.float() for name, value in adapter.items()}
        own.load_state_dict(adapted({name: value.detach() for name, value in own.named_parameters()}, changes))
        # torch's own: diffusers' warns of every change of the number format.
        self.unet = nn.Module.to(own, device, dtype).to(memory_format=torch.channels_last)
        self.dtype, self.digest = dtype, digest_of(adapter)

    @torch.no_grad()
    def v(self, latents: Tensor, timestep: int, content: Tensor, style: PaintedStyle) -> Tensor:
        """v (B, C, h, w), in float32, of ``latents`` at a timestep, beside the ``content``'s latents (B, C, h, w)."""
        noisy, beside, states, vectors = (
            each.to(latents.device, self.dtype) for each in (latents, content, style.states, style.vector)
        )
        count = len(latents)
        timesteps = torch.full((count,), timestep, device=latents.device)
        expanded = (states.expand(count, -1, -1), vectors.expand(count, -1))
        return v_beside(self.unet, noisy, beside, timesteps, expanded).float()


def save_adapter(path: Path, adapter: Mapping[str, Tensor], fingerprint: str) -> None:
    """Write an adapter in fp16, for a base UNet with this ``fingerprint``. Raises OSError where that is impossible."""
    write_tensors(path, {name: value.half() for name, value in adapter.items()}, {BASE: fingerprint})


def load_adapter(path: Path, fingerprint: str) -> dict[str, Tensor]:
    """The adapter in a file. Raises ModelError for a damaged one, or one that was trained on another base UNet."""
    try:
        adapter, metadata = read_tensors(path)
    except (DamagedFileError, OSError) as error:
        raise ModelError(f"The fast adapter {path} cannot be read ({error}): get it, or the package, again.") from None
    if metadata.get(BASE) != fingerprint:
        raise ModelError(
            f"The fast adapter {path} was trained on another UNet than the one beside it: train it again with "
            "'velatura train-house fast'."
        )
    return adapter
