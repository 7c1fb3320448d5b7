"""ZeCon's losses as published (guided-details, sections 1.9 and 2), for its own loop.

They differ from ours in their views (``warps``), in un-normalised directions, in an absolute VGG term, and in a sum
over encoder levels with places from numpy's generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from velatura.losses.base import Loss, Targets, View
from velatura.losses.clip import (
    DirectionalClip,
    GlobalClip,
    PatchClip,
    PatchDirectionalClip,
    directional_distance,
    spherical_distance,
)
from velatura.losses.eyes import PATCH_AREA
from velatura.losses.mse import PixelMSE
from velatura.losses.range import OutOfRange
from velatura.losses.vgg import SHALLOW_LAYERS, ShallowFeatureMSE, feature_distance
from velatura.losses.warps import drawn_boxes, drawn_warps, patches, pooled
from velatura.losses.zecon import POSITIONS, ZeCon, patch_contrast

VIEWS = 32


class _PublishedClip:
    """Embeds 32 warped copies of a whole picture, or of patches of it."""

    layers: tuple[str, ...] = ()
    encodes = False

    def __init__(self, targets: Targets) -> None:
        self.eyes, self.goal = targets.seeing()
        self.draws = targets.draws

    def of_whole(self, pixels: Tensor) -> Tensor:
        """Embeddings (32, E) of warped copies of (1, 3, H, W)."""
        warps = drawn_warps(VIEWS, pixels.shape[2:], self.draws)
        return self.eyes.projected(warps(pixels.expand(VIEWS, -1, -1, -1)))

    def of_patches(self, pixels: Tensor) -> Tensor:
        """Embeddings (32, E) of warped patches of (1, 3, H, W)."""
        enlarged = patches(pixels, drawn_boxes(VIEWS, pixels.shape[2:], PATCH_AREA, self.draws))
        return self.eyes.projected(drawn_warps(VIEWS, enlarged.shape[2:], self.draws)(enlarged))


class PublishedClip(_PublishedClip):
    """Mean of 2 asin(|u - v| / 2)^2 over warped copies of the whole picture."""

    name = GlobalClip.name

    def __call__(self, view: View, content: View) -> Tensor:
        return spherical_distance(self.of_whole(view.pixels), self.goal.whole.embedding).mean()


class PublishedPatchClip(_PublishedClip):
    """The same of patches."""

    name = PatchClip.name

    def __call__(self, view: View, content: View) -> Tensor:
        return spherical_distance(self.of_patches(view.pixels), self.goal.patch.embedding).mean()


class PublishedDirectionalClip(_PublishedClip):
    """1 - cos(E(x) - E(y), direction), x and y each under their own warps."""

    name = DirectionalClip.name

    def __call__(self, view: View, content: View) -> Tensor:
        moved = self.of_whole(view.pixels) - self.of_whole(content.pixels)
        return directional_distance(moved, self.goal.whole.direction).mean()


class PublishedPatchDirectionalClip(_PublishedClip):
    """1 - cos(E(patch of x) - E(y), direction), y whole and not warped."""

    name = PatchDirectionalClip.name

    def __call__(self, view: View, content: View) -> Tensor:
        moved = self.of_patches(view.pixels) - self.eyes.projected(pooled(content.pixels))
        return directional_distance(moved, self.goal.patch.direction).mean()


class PublishedZeCon:
    """Patch contrast, summed over the encoder's levels; places from numpy's own generator, as seeded there."""

    name = ZeCon.name
    layers: tuple[str, ...] = ()
    encodes = True

    def __init__(self, targets: Targets) -> None:
        self.draws = np.random.RandomState(targets.draws.initial_seed() % 2**32)

    def __call__(self, view: View, content: View) -> Tensor:
        counts = (level[0, 0].numel() for level in view.encoded)
        positions = [torch.from_numpy(self.draws.permutation(count)[:POSITIONS]) for count in counts]
        places = [at.to(level.device) for at, level in zip(positions, view.encoded, strict=True)]
        return patch_contrast(view.encoded, content.encoded, places)


class PublishedVGG:
    """Squared difference of relu1_1 and relu2_1, each a mean, added up."""

    name = ShallowFeatureMSE.name
    layers: tuple[str, ...] = SHALLOW_LAYERS
    encodes = False

    def __init__(self, targets: Targets) -> None:
        pass

    def __call__(self, view: View, content: View) -> Tensor:
        return feature_distance(*({name: seen.features[name] for name in self.layers} for seen in (view, content)))


# In the order in which the published guidance adds them up, and draws for them.
PUBLISHED_LOSSES: Mapping[str, Callable[[Targets], Loss]] = {
    loss.name: loss
    for loss in (
        PublishedClip,
        PublishedPatchClip,
        PublishedDirectionalClip,
        PublishedPatchDirectionalClip,
        PublishedZeCon,
        PixelMSE,
        PublishedVGG,
        OutOfRange,
    )
}
