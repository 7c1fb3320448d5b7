"""Distances to the style in an image encoder's embedding space (the poster's C; ZeCon's and CLIPstyler's losses).

The encoder is CLIP where its weights are at hand (see ``models.encoders.choice``).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.base import LossInput, Targets
from velatura.losses.clip_targets import PATCH_AREA, PATCH_SIDE, SIDE, WHOLE_AREA, ClipTarget, ClipTargets
from velatura.losses.clip_views import RotatedRectangle, draw_rectangles, resample

POOL = 24  # rectangles of one run; the content's embedding in each is computed once
WHOLE_VIEWS, PATCH_VIEWS = 2, 6  # of them in each step


def spherical_distance(x: Tensor, y: Tensor) -> Tensor:
    """Half the squared angle between embeddings (B, E) and (1 or B, E): 2 asin(|a - b| / 2)^2 of unit vectors.

    Its gradient is finite everywhere, at equal and at opposite vectors too.
    """
    difference = (F.normalize(x, dim=-1) - F.normalize(y, dim=-1)).square().sum(-1)
    # asin's slope is infinite at 1 and the norm's at 0: both are kept away from.
    half = (difference.clamp(min=1e-12) / 4).sqrt().clamp(max=1 - 1e-6)
    squared: Tensor = torch.where(difference < 1e-12, difference / 4, half.asin().square())
    return 2 * squared


def directional_distance(moved: Tensor, direction: Tensor) -> Tensor:
    """1 - cos between movements (B, E) of embeddings and a direction (1 or B, E): (B,)."""
    return 1 - F.cosine_similarity(moved, direction, dim=-1)


class _ClipLoss:
    """Embeddings of random views: a pool of rectangles is drawn once for a run, and some of them in each step."""

    layers: tuple[str, ...] = ()
    needs_encoder_maps = False
    area, side, views = WHOLE_AREA, SIDE, WHOLE_VIEWS

    def __init__(self, targets: Targets) -> None:
        self.encoder, clip_targets = targets.clip()
        self.target = self.target_of(clip_targets)
        self.generator, self.content_pixels = targets.generator, targets.content.pixels
        self.pool: list[RotatedRectangle] = draw_rectangles(POOL, self.area, self.generator)
        self._content_embeddings: dict[int, Tensor] = {}

    def target_of(self, clip_targets: ClipTargets) -> ClipTarget:
        """The target of views of this kind."""
        return clip_targets.whole

    def draw_views(self) -> list[int]:
        """Indices of this step's rectangles in the pool."""
        return torch.randperm(POOL, generator=self.generator)[: self.views].tolist()

    def embed(self, pixels: Tensor, indices: list[int]) -> Tensor:
        """Embeddings (N, E) of the views of (1, 3, H, W) in the rectangles at ``indices``."""
        return self.encoder(resample(pixels, [self.pool[index] for index in indices], self.side))

    @torch.no_grad()
    def embed_content(self, indices: list[int]) -> Tensor:
        """The content's embeddings (N, E) in the same rectangles, each computed once."""
        missing = [index for index in indices if index not in self._content_embeddings]
        if missing:
            embeddings = torch.split(self.embed(self.content_pixels, missing), 1)
            self._content_embeddings.update(zip(missing, embeddings, strict=True))
        return torch.cat([self._content_embeddings[index] for index in indices])


class _PatchViews(_ClipLoss):
    """Views of 1 to 5 % of the picture: they show texture, hardly objects."""

    area, side, views = PATCH_AREA, PATCH_SIDE, PATCH_VIEWS

    def target_of(self, clip_targets: ClipTargets) -> ClipTarget:
        return clip_targets.patch


class GlobalClip(_ClipLoss):
    """Mean spherical distance of views of nearly the whole picture to the style's embedding."""

    name = "clip"

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        return spherical_distance(self.embed(result.pixels, self.draw_views()), self.target.embedding).mean()


class PatchClip(_PatchViews, GlobalClip):
    """Mean spherical distance of small patches to the style's embedding."""

    name = "clip_patch"


class DirectionalClip(_ClipLoss):
    """Mean 1 - cos(E(result) - E(content), direction), over the same views of result and content."""

    name = "clip_dir"

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        indices = self.draw_views()
        moved = self.embed(result.pixels, indices) - self.embed_content(indices)
        return directional_distance(moved, self.target.direction).mean()


class PatchDirectionalClip(_PatchViews, DirectionalClip):
    """Mean 1 - cos(E(result) - E(content), direction) over small patches."""

    name = "clip_dir_patch"
