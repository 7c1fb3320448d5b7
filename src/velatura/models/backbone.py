"""What every method asks of a pretrained diffusion model, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from velatura.models.advice import Advice

PLACEHOLDER = "*"


@dataclass(frozen=True)
class Condition:
    """What the UNet attends to: text ``states`` (B, L, W) and ``extra`` conditioning (SDXL's, by name)."""

    states: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.states)

    def expanded(self, count: int) -> Condition:
        """The same condition for ``count`` pictures; one condition is repeated, ``count`` ones are kept."""
        if len(self) == count:
            return self
        return Condition(
            self.states.expand(count, -1, -1),
            {name: value.expand(count, -1) for name, value in self.extra.items()},
        )

    def says(self, other: Condition) -> bool:
        """Whether it is the same as ``other``, number for number."""
        ours, theirs = ({"": condition.states, **condition.extra} for condition in (self, other))
        return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)

    @staticmethod
    def joined(conditions: Sequence[Condition]) -> Condition:
        """One batch of several conditions."""
        extra = {name: torch.cat([c.extra[name] for c in conditions]) for name in conditions[0].extra}
        return Condition(torch.cat([c.states for c in conditions]), extra)

    @staticmethod
    def mixed(conditions: Sequence[Condition], shares: Sequence[float]) -> Condition:
        """The weighted sum of conditions of one shape."""
        pairs = list(zip(conditions, shares, strict=True))
        extra = {name: torch.stack([s * c.extra[name] for c, s in pairs]).sum(0) for name in conditions[0].extra}
        return Condition(torch.stack([s * c.states for c, s in pairs]).sum(0), extra)


class Backbone(Protocol):
    """A frozen diffusion model. Pixels are (B, 3, H, W) in [-1, 1], sides multiples of ``multiple``."""

    name: str
    fingerprint: str
    multiple: int
    factor: int  # pixels per latent cell and side
    latent_channels: int
    native_size: int
    device: torch.device
    dtype: torch.dtype
    scheduler: Any
    advised: Advice  # what its folder advises: see ``advice``
    evaluations: int  # of the denoising network so far, one for each picture in a batch

    @property
    def alphas_cumprod(self) -> Tensor:
        """abar_t, (number of training timesteps,), float64."""
        ...

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Scaled latents (B, C, H/f, W/f): the posterior's mean, or its sample with ``noise``; differentiable."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels of scaled latents, not clamped; differentiable."""
        ...

    def predict(self, latents: Tensor, timestep: int | Tensor, condition: Condition) -> Tensor:
        """The noise in ``latents`` at a training timestep, whatever the network itself predicts."""
        ...

    def encoded(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, C, h, w) of the denoising network's own encoder for clean latents, fine to coarse."""
        ...

    def text(self, prompts: Sequence[str], words: Tensor | None = None) -> Condition:
        """The condition of prompts; ``words`` (B, n, W) stand in for "*" where it occurs."""
        ...

    def see(self, pixels: Tensor) -> Tensor:
        """Picture embeddings (B, E)."""
        ...

    @property
    def word_width(self) -> int:
        """Length of a token embedding."""
        ...

    def token_embedding(self, text: str) -> Tensor:
        """The embedding (width,) of a text's first token."""
        ...

    def word_of(self, embeddings: Tensor) -> Tensor | None:
        """The token vectors (B, n, W) of picture embeddings where such a map was learned, linear in them."""
        ...

    def style_word(self, pixels: Tensor) -> Tensor | None:
        """Token vectors (1, n, W) that say how a picture (1, 3, H, W) looks; None where none were learned."""
        ...
