"""What a run of S2PreST passes from step to step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from velatura.methods.s2prest.arithmetic import Draws
from velatura.models.backbone import Condition


@dataclass(frozen=True)
class Prepared:
    """What does not depend on the strength, of one content: latents z, edge picture, embeddings, what is drawn.

    Without edges, ``edges`` is empty and the content's latents and embedding stand for theirs.
    """

    z_content: Tensor
    z_edges: Tensor
    z_style: Tensor
    sees_content: Tensor
    sees_edges: Tensor
    edges: Tensor
    draws: Draws


@dataclass(frozen=True)
class Conditions:
    """Text states under the words of content, edges and style, and without a word's guidance."""

    content: Condition
    edges: Condition
    style: Condition
    without: Condition


@dataclass(frozen=True)
class Start:
    """The way to the start latent: z_mix, the noised mix x, the noise that the model sees in it, the latent."""

    mixed: Tensor
    noisy: Tensor
    noise: Tensor
    latents: Tensor


def edge_weight(schedule: str, passed: float) -> float:
    """The edge condition's share of its setting when ``passed`` (0..1) of the steps are done."""
    return {"constant": 1.0, "falling": 1 - passed, "rising": passed}[schedule]


def joined(parts: Sequence[Prepared], device: torch.device) -> Prepared:
    """Several contents as one batch."""

    def stacked(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts]).to(device)

    draws = Draws(torch.cat([part.draws.content for part in parts]), torch.cat([part.draws.edges for part in parts]))
    names = ("z_content", "z_edges", "z_style", "sees_content", "sees_edges", "edges")
    return Prepared(**{name: stacked(name) for name in names}, draws=draws)
