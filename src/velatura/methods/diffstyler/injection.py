"""DiffStyler's injection: features and self-attention of the content's own passes in those of the styles (spec
diffstyler, section 4; Tumanyan et al. 2023). In a transformer it is the queries and keys of the image tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from velatura.diffusion.attention_control import AttentionLayer, Change, Recording, decoder_self_attentions
from velatura.diffusion.joint_attention import later_attentions
from velatura.models.backbone import Backbone, HasTransformer, denoising_network
from velatura.span import progress_of


@dataclass(frozen=True)
class InjectionSites:
    """Where to inject: the name of the feature module (None: there is none), and those of the modules of queries and
    keys, each with its attention.
    """

    feature: str | None
    attention: Mapping[str, AttentionLayer]

    @staticmethod
    def of(backbone: Backbone, grid: tuple[int, int]) -> InjectionSites:
        """The sites in a model's network, for latents of (height, width) cells; a transformer has no feature module,
        and the attentions of its later blocks.
        """
        if isinstance(backbone, HasTransformer):
            return InjectionSites(None, _queries_and_keys(later_attentions(backbone, grid)))
        return injection_sites(denoising_network(backbone))


def _queries_and_keys(attentions: Sequence[AttentionLayer]) -> dict[str, AttentionLayer]:
    return {module: attention for attention in attentions for module in (attention.queries, attention.keys)}


def injection_sites(unet: Any) -> InjectionSites:
    """The sites by decoder depth: of the first up block with attention the second residual block's last convolution
    and all self-attentions but those of its first layer, of every later up block all self-attentions.
    """
    levels = decoder_self_attentions(unet)
    first = next(iter(levels))
    attentions = [
        attention
        for level in levels.values()
        for attention in level
        if not attention.name.startswith(f"up_blocks.{first}.attentions.0.")
    ]
    return InjectionSites(f"up_blocks.{first}.resnets.1.conv2", _queries_and_keys(attentions))


def blended(output: Tensor, source: Tensor, share: float) -> Tensor:
    """``output`` (B, …) with ``share`` of the source (1, …) in every row."""
    return torch.lerp(output, source.to(output).expand_as(output), share)


@dataclass(frozen=True)
class Injection:
    """How much of the source goes in at a step: its features or not, and the share r of its queries and keys."""

    feature: bool
    attention: float

    def shares(self, sites: InjectionSites) -> dict[str, float]:
        """The source's share (over 0, up to 1) in the output of each module that it goes into."""
        shares = {} if sites.feature is None else {sites.feature: float(self.feature)}
        shares |= dict.fromkeys(sites.attention, self.attention)
        return {name: share for name, share in shares.items() if share > 0}

    def changes(self, sites: InjectionSites, source: Recording) -> dict[str, Change]:
        """The changes that blend the recorded source into every row of a pass; in attentions, the picture's tokens."""
        changes: dict[str, Change] = {}
        for name, share in self.shares(sites).items():
            layer, recorded = sites.attention.get(name), source[name]
            if layer is None:
                changes[name] = partial(blended, source=recorded, share=share)
            else:
                image = partial(blended, source=layer.image_part(name, recorded), share=share)
                changes[name] = layer.changing_image(name, image)
        return changes


@dataclass(frozen=True)
class Schedule:
    """When to inject: over which share of the steps, and q and k wholly ("full") or less and less ("adaptive")."""

    feature_share: float = 0.8
    attention_share: float = 0.5
    fusion: str = "full"

    def at(self, progress: float, timestep: int, timesteps: int) -> Injection:
        """The injection when ``progress`` (0..1) of the steps are done; r = min(1, 2t/T) where adaptive."""
        share = min(1.0, 2 * timestep / timesteps) if self.fusion == "adaptive" else 1.0
        return Injection(progress < self.feature_share, share if progress < self.attention_share else 0.0)

    def over(self, timesteps: Sequence[int], training_timesteps: int) -> dict[int, Injection]:
        """The injection at each of a run's ``timesteps``, the noisiest first."""
        steps = len(timesteps)
        return {t: self.at(progress_of(i, steps), t, training_timesteps) for i, t in enumerate(timesteps)}
