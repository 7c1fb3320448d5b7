"""ZeCon: patches of the result must know their own places in the content (Yang et al. 2023; the poster's L_content3).

Features of the diffusion UNet's own encoder, so that no further network is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.base import Targets, View

POSITIONS = 256
TEMPERATURE = 0.07
OWN_PLACE = -10.0  # its logit among the negatives, before the division by the temperature


def unit(features: Tensor) -> Tensor:
    """Rows (N, C) over their norm plus 1e-7."""
    normalised: Tensor = features / (features.norm(dim=-1, keepdim=True) + 1e-7)
    return normalised


def patch_nce(queries: Tensor, keys: Tensor) -> Tensor:
    """InfoNCE of each query (N, C) with the key at its own place against those at all others: (N,).

    Keys get no gradient.
    """
    keys = keys.detach()
    positives = (queries * keys).sum(1, keepdim=True)
    negatives = (queries @ keys.T).fill_diagonal_(OWN_PLACE) if len(queries) > 1 else queries @ keys.T * 0 + OWN_PLACE
    logits = torch.cat([positives, negatives], dim=1) / TEMPERATURE
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device), reduction="none")


def at_positions(features: Tensor, positions: Tensor) -> Tensor:
    """Unit features (B * N, C) of maps (B, C, H, W) at flat ``positions`` (N,), the same in every picture."""
    return unit(features.flatten(2).transpose(1, 2)[:, positions].flatten(0, 1))


def patch_contrast(ours: Sequence[Tensor], theirs: Sequence[Tensor], positions: Sequence[Tensor]) -> Tensor:
    """Sum over encoder levels of the mean patch NCE, in float32 whatever the maps are in."""
    losses = [
        patch_nce(at_positions(q.float(), at), at_positions(k.float(), at)).mean()
        for q, k, at in zip(ours, theirs, positions, strict=True)
    ]
    return torch.stack(losses).sum()


def drawn_positions(maps: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """At most 256 places of each map (B, C, H, W), without repetition."""
    return [torch.randperm(level[0, 0].numel(), generator=generator)[:POSITIONS].to(level.device) for level in maps]


class ZeCon:
    """Patch contrast with the content, places drawn anew each time; a mean over levels, in nats."""

    name = "zecon"
    layers: tuple[str, ...] = ()
    encodes = True

    def __init__(self, targets: Targets) -> None:
        self.draws = targets.draws

    def __call__(self, view: View, content: View) -> Tensor:
        positions = drawn_positions(view.encoded, self.draws)
        return patch_contrast(view.encoded, content.encoded, positions) / len(positions)
