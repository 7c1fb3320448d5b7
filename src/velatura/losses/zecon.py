"""ZeCon, the patch contrastive loss between result and content (Yang et al. 2023; the poster's L_content3).

Each patch's features must be nearer to the content's features at the same place than to those at other places. The
features are the diffusion UNet's own encoder maps, so that no further network is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.base import LossInput, Targets

POSITIONS = 256
TEMPERATURE = 0.07
OWN_PLACE = -10.0  # its logit among the negatives, before the division by the temperature


def unit(features: Tensor) -> Tensor:
    """Rows (N, C) divided by their norm plus 1e-7."""
    normalised: Tensor = features / (features.norm(dim=-1, keepdim=True) + 1e-7)
    return normalised


def patch_nce(queries: Tensor, keys: Tensor) -> Tensor:
    """InfoNCE of unit queries (N, C) with unit keys (N, C): each query's own key against all others: (N,), in nats.

    Keys get no gradient. Temperature 0.07.
    """
    keys = keys.detach()
    positives = (queries * keys).sum(1, keepdim=True)
    negatives = (queries @ keys.T).fill_diagonal_(OWN_PLACE) if len(queries) > 1 else queries @ keys.T * 0 + OWN_PLACE
    logits = torch.cat([positives, negatives], dim=1) / TEMPERATURE
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device), reduction="none")


def at_positions(features: Tensor, positions: Tensor) -> Tensor:
    """Unit features (B * N, C) of maps (B, C, H, W) at flat ``positions`` (N,), the same for every picture."""
    return unit(features.flatten(2).transpose(1, 2)[:, positions].flatten(0, 1))


def patch_contrast(queries: Sequence[Tensor], keys: Sequence[Tensor], positions: Sequence[Tensor]) -> Tensor:
    """The sum over encoder levels, maps (B, C, h, w), of the mean patch NCE at flat ``positions``; in float32."""
    losses = [
        patch_nce(at_positions(q.float(), at), at_positions(k.float(), at)).mean()
        for q, k, at in zip(queries, keys, positions, strict=True)
    ]
    return torch.stack(losses).sum()


def draw_positions(maps: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """At most 256 random flat positions of each map (B, C, h, w), without repetition."""
    return [torch.randperm(level[0, 0].numel(), generator=generator)[:POSITIONS].to(level.device) for level in maps]


class ZeCon:
    """Patch contrast with the content at positions drawn anew in each step; the mean over levels, in nats."""

    name = "zecon"
    layers: tuple[str, ...] = ()
    needs_encoder_maps = True

    def __init__(self, targets: Targets) -> None:
        self.generator = targets.generator

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        positions = draw_positions(result.encoder_maps, self.generator)
        return patch_contrast(result.encoder_maps, content.encoder_maps, positions) / len(positions)
