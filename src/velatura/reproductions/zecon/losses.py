"""ZeCon's losses as published (guided-details, sections 1.9 and 2).

They differ from those of ``velatura.losses`` in their views (``warps``), in un-normalised directions, in an absolute
VGG term, and in a sum over encoder levels at positions from numpy's generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from velatura.losses.base import Loss, LossInput, Targets
from velatura.losses.clip import (
    DirectionalClip,
    GlobalClip,
    PatchClip,
    PatchDirectionalClip,
    directional_distance,
    spherical_distance,
)
from velatura.losses.clip_targets import PATCH_AREA
from velatura.losses.mse import PixelMSE
from velatura.losses.range import OutOfRange
from velatura.losses.vgg import SHALLOW_LAYERS, ShallowFeatureMSE, feature_distance
from velatura.losses.zecon import POSITIONS, ZeCon, patch_contrast
from velatura.reproductions.zecon.warps import draw_patches, draw_warps, patches, pooled


@dataclass(frozen=True)
class Views:
    """How many copies a CLIP loss embeds, and what share of the picture (least, most) one patch is."""

    count: int = 32
    area: tuple[float, float] = PATCH_AREA


class _PublishedClip:
    """Embeddings of warped copies of a whole picture, or of warped patches of it, drawn anew each time."""

    name: str
    layers: tuple[str, ...] = ()
    needs_encoder_maps = False

    def __init__(self, targets: Targets, views: Views) -> None:
        self.encoder, self.targets = targets.clip()
        self.generator, self.views = targets.generator, views

    def embed_whole(self, pixels: Tensor) -> Tensor:
        """Embeddings (N, E) of warped copies of (1, 3, H, W)."""
        warps = draw_warps(self.views.count, pixels.shape[2:], self.generator)
        return self.encoder.projected(warps(pixels.expand(self.views.count, -1, -1, -1)))

    def embed_patches(self, pixels: Tensor) -> Tensor:
        """Embeddings (N, E) of warped patches of (1, 3, H, W)."""
        boxes, warps = draw_patches(self.views.count, pixels.shape[2:], self.views.area, self.generator)
        return self.encoder.projected(warps(patches(pixels, boxes)))


class PublishedClip(_PublishedClip):
    """Mean of 2 asin(|u - v| / 2)^2 to the style's embedding, over warped copies of the whole picture."""

    name = GlobalClip.name

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        return spherical_distance(self.embed_whole(result.pixels), self.targets.whole.embedding).mean()


class PublishedPatchClip(_PublishedClip):
    """Mean of 2 asin(|u - v| / 2)^2 to the style's embedding, over warped patches."""

    name = PatchClip.name

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        return spherical_distance(self.embed_patches(result.pixels), self.targets.patch.embedding).mean()


class PublishedDirectionalClip(_PublishedClip):
    """Mean of 1 - cos(E(x) - E(y), direction), result x and content y each under warps of their own."""

    name = DirectionalClip.name

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        moved = self.embed_whole(result.pixels) - self.embed_whole(content.pixels)
        return directional_distance(moved, self.targets.whole.direction).mean()


class PublishedPatchDirectionalClip(_PublishedClip):
    """Mean of 1 - cos(E(patch of x) - E(y), direction), the content y whole and not warped."""

    name = PatchDirectionalClip.name

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        moved = self.embed_patches(result.pixels) - self.encoder.projected(pooled(content.pixels))
        return directional_distance(moved, self.targets.patch.direction).mean()


class PublishedZeCon:
    """Patch contrast, summed over the encoder's levels, at positions from a numpy generator of the run's seed."""

    name = ZeCon.name
    layers: tuple[str, ...] = ()
    needs_encoder_maps = True

    def __init__(self, targets: Targets) -> None:
        self.generator = np.random.RandomState(targets.generator.initial_seed() % 2**32)

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        counts = (level[0, 0].numel() for level in result.encoder_maps)
        drawn = [torch.from_numpy(self.generator.permutation(count)[:POSITIONS]) for count in counts]
        positions = [at.to(level.device) for at, level in zip(drawn, result.encoder_maps, strict=True)]
        return patch_contrast(result.encoder_maps, content.encoder_maps, positions)


class PublishedVGG:
    """Mean squared difference of relu1_1 plus that of relu2_1."""

    name = ShallowFeatureMSE.name
    layers: tuple[str, ...] = SHALLOW_LAYERS
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        return feature_distance(*({name: each.features[name] for name in self.layers} for each in (result, content)))


_CLIP: tuple[type[_PublishedClip], ...] = (
    PublishedClip,
    PublishedPatchClip,
    PublishedDirectionalClip,
    PublishedPatchDirectionalClip,
)
_OTHERS: Mapping[str, Callable[[Targets], Loss]] = {
    loss.name: loss for loss in (PublishedZeCon, PixelMSE, PublishedVGG, OutOfRange)
}
# In the order in which the program adds them up and draws for them.
PUBLISHED_LOSSES = (*(loss.name for loss in _CLIP), *_OTHERS)


def published_losses(views: Views) -> Mapping[str, Callable[[Targets], Loss]]:
    """ZeCon's losses by name; those of CLIP look at ``views``."""
    clip: Mapping[str, Callable[[Targets], Any]] = {loss.name: partial(loss, views=views) for loss in _CLIP}
    return {**clip, **_OTHERS}
