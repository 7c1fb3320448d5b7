"""What methods ask of a pretrained diffusion model.

``Backbone`` is what every model has. What only some have are the small protocols below it; a method asks for them once,
with ``isinstance``, before it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from velatura.models.noise_schedule import NoiseSchedule
from velatura.models.recommended import RecommendedSettings
from velatura.models.unet_call import UNetAdapter

PLACEHOLDER = "*"


@dataclass(frozen=True)
class Conditioning:
    """What the denoising network attends to: text ``states`` (B, L, W), and ``extra`` tensors (B, …) by name
    (SDXL's pooled text and sizes, class numbers).
    """

    states: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.states)

    def expanded(self, count: int) -> Conditioning:
        """The conditioning of ``count`` pictures: one row is repeated, ``count`` rows stay as they are."""
        if len(self) == count:
            return self
        return Conditioning(
            self.states.expand(count, -1, -1),
            {name: value.expand(count, *value.shape[1:]) for name, value in self.extra.items()},
        )

    def equals(self, other: Conditioning) -> bool:
        """Whether all tensors are equal to those of ``other``."""
        ours, theirs = ({"": each.states, **each.extra} for each in (self, other))
        return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)

    @staticmethod
    def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
        """One batch of several conditionings."""
        extra = {name: torch.cat([part.extra[name] for part in parts]) for name in parts[0].extra}
        return Conditioning(torch.cat([part.states for part in parts]), extra)

    @staticmethod
    def weighted_sum(parts: Sequence[Conditioning], weights: Sequence[float]) -> Conditioning:
        """The weighted sum of conditionings of one shape."""
        pairs = list(zip(parts, weights, strict=True))
        extra = {name: torch.stack([w * part.extra[name] for part, w in pairs]).sum(0) for name in parts[0].extra}
        return Conditioning(torch.stack([w * part.states for part, w in pairs]).sum(0), extra)


@dataclass(frozen=True)
class Prediction:
    """The ``noise`` (B, C, h, w) that a model finds in latents and, where it learned one, the logits v in [-1, 1] of
    its ``variance`` (Nichol & Dhariwal 2021, eq. 15).
    """

    noise: Tensor
    variance: Tensor | None = None


class Backbone(Protocol):
    """A frozen diffusion model. Pixels are (B, 3, H, W) in [-1, 1], their sides multiples of ``multiple``."""

    name: str
    fingerprint: str
    multiple: int
    factor: int  # pixels per latent cell and side
    latent_channels: int
    flat_channels: tuple[int, ...]  # whose values, where they are constant, are a flat colour
    native_size: int  # side in pixels of the pictures that it was trained on
    device: torch.device
    dtype: torch.dtype
    schedule: NoiseSchedule
    recommended_settings: RecommendedSettings
    evaluations: int  # of the denoising network so far, one for each picture in a batch

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Scaled latents (B, C, H/factor, W/factor): the posterior's mean, or its sample with ``noise``;
        differentiable.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels of scaled latents, not clamped; differentiable."""
        ...

    def predict(self, latents: Tensor, timestep: int | Tensor, conditioning: Conditioning) -> Prediction:
        """The noise in ``latents`` at a training timestep, whatever the network itself predicts; differentiable."""
        ...

    def unconditional(self) -> Conditioning:
        """The conditioning (one row) without any prompt."""
        ...


@runtime_checkable
class TextConditioned(Protocol):
    """A model that takes a prompt."""

    def encode_prompt(self, prompts: Sequence[str], words: Tensor | None = None) -> Conditioning:
        """The conditioning of prompts; token embeddings ``words`` (B, n, W) replace "*" where it occurs."""
        ...

    def token_embedding(self, text: str) -> Tensor:
        """The embedding (W,) of a text's first token."""
        ...

    def word_width(self) -> int:
        """The length W of a token embedding."""
        ...


@runtime_checkable
class ImageConditioned(Protocol):
    """A model with an image encoder whose embeddings can become words."""

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Image embeddings (B, E)."""
        ...


@runtime_checkable
class PictureWords(Protocol):
    """A model that has learned to read a picture as a word of its prompt."""

    def word_of_embedding(self, embeddings: Tensor) -> Tensor:
        """Token embeddings (B, n, W) of image embeddings (B, E); a linear map."""
        ...

    def style_word(self, pixels: Tensor) -> Tensor:
        """Token embeddings (1, n, W) that describe the style of a picture (1, 3, H, W)."""
        ...


@runtime_checkable
class HasUNet(Protocol):
    """A model whose denoising network is a diffusers UNet, so that LoRA and attention control work on it."""

    unet: Any

    def encoder_maps(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Feature maps (B, C, h, w) of the UNet's encoder for clean latents, from fine to coarse; differentiable."""
        ...


@runtime_checkable
class HasTransformer(Protocol):
    """A model whose denoising network is a diffusers transformer with joint attention over text and image tokens."""

    transformer: Any
    normalised_token_axis: int  # of queries and keys (B, …) behind their normalisation, which parts them into heads

    def image_tokens(self, grid: tuple[int, int]) -> int:
        """How many image tokens latents of (height, width) cells are."""
        ...


def denoising_network(backbone: Any) -> Any:
    """The UNet or the transformer of a model that has one, as a module whose parts can be hooked."""
    return backbone.transformer if isinstance(backbone, HasTransformer) else backbone.unet


@runtime_checkable
class Adaptable(HasUNet, Protocol):
    """A model whose UNet's calls can be joined by adapters, such as an IP-Adapter, for a while."""

    def joined_by(self, adapters: Sequence[UNetAdapter]) -> AbstractContextManager[None]:
        """While open, ``adapters`` join the UNet's calls, after those that do already."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """While open, no adapters join the UNet's calls."""
        ...
