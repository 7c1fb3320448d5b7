"""Distances to the style in an image encoder's space (the poster's C; ZeCon's and CLIPstyler's losses).

The encoder is CLIP's where its weights are at hand; the manifest names what it was.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.base import Targets, View
from velatura.losses.crops import Crop, cut, drawn_crops
from velatura.losses.eyes import PATCH_AREA, PATCH_SIDE, SIDE, WHOLE_AREA, Goal, Lead

POOL = 24  # crops of one run, whose content is seen once
WHOLE_VIEWS, PATCH_VIEWS = 2, 6  # of them in each step


def spherical_distance(x: Tensor, y: Tensor) -> Tensor:
    """Half the squared angle between embeddings (B, E) and (1 or B, E): 2 asin(|a - b| / 2)^2 of unit vectors.

    Differentiable where they are equal and where they are opposite, too.
    """
    difference = (F.normalize(x, dim=-1) - F.normalize(y, dim=-1)).square().sum(-1)
    # asin's slope is infinite at 1 and the norm's at 0: both are kept away from.
    half = (difference.clamp(min=1e-12) / 4).sqrt().clamp(max=1 - 1e-6)
    squared: Tensor = torch.where(difference < 1e-12, difference / 4, half.asin().square())
    return 2 * squared


def directional_distance(moved: Tensor, direction: Tensor) -> Tensor:
    """1 - cos between movements (B, E) and a direction (1 or B, E)."""
    return 1 - F.cosine_similarity(moved, direction, dim=-1)


class _Clip:
    """Draws views from a pool and embeds them; the content's are embedded once."""

    layers: tuple[str, ...] = ()
    encodes = False
    area, side, views = WHOLE_AREA, SIDE, WHOLE_VIEWS

    def __init__(self, targets: Targets) -> None:
        self.eyes, goal = targets.seeing()
        self.lead = self.of_goal(goal)
        self.draws, self.picture = targets.draws, targets.content.pixels
        self.crops: list[Crop] = drawn_crops(POOL, self.area, self.draws)
        self._seen: dict[int, Tensor] = {}

    def of_goal(self, goal: Goal) -> Lead:
        """The part of the goal that is for views of this kind."""
        return goal.whole

    def drawn(self) -> list[int]:
        """Which of the pool's crops this step looks at."""
        return torch.randperm(POOL, generator=self.draws)[: self.views].tolist()

    def embedded(self, pixels: Tensor, chosen: list[int]) -> Tensor:
        """Embeddings (N, E) of the chosen crops."""
        return self.eyes(cut(pixels, [self.crops[index] for index in chosen], self.side))

    @torch.no_grad()
    def of_content(self, chosen: list[int]) -> Tensor:
        """The same crops of the content."""
        missing = [index for index in chosen if index not in self._seen]
        if missing:
            self._seen.update(zip(missing, torch.split(self.embedded(self.picture, missing), 1), strict=True))
        return torch.cat([self._seen[index] for index in chosen])


class _Patches(_Clip):
    """Small views: texture, hardly objects."""

    area, side, views = PATCH_AREA, PATCH_SIDE, PATCH_VIEWS

    def of_goal(self, goal: Goal) -> Lead:
        return goal.patch


class GlobalClip(_Clip):
    """Spherical distance of the whole picture's views to the style's."""

    name = "clip"

    def __call__(self, view: View, content: View) -> Tensor:
        return spherical_distance(self.embedded(view.pixels, self.drawn()), self.lead.embedding).mean()


class PatchClip(_Patches, GlobalClip):
    """The same of small patches."""

    name = "clip_patch"


class DirectionalClip(_Clip):
    """1 - cos(E(x) - E(content), E(style) - E(style without its style)): what both share, its content, falls out."""

    name = "clip_dir"

    def __call__(self, view: View, content: View) -> Tensor:
        chosen = self.drawn()
        moved = self.embedded(view.pixels, chosen) - self.of_content(chosen)
        return directional_distance(moved, self.lead.direction).mean()


class PatchDirectionalClip(_Patches, DirectionalClip):
    """The same of small patches."""

    name = "clip_dir_patch"
