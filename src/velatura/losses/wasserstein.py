"""Sliced Wasserstein distances to the style: of its colours, and of its VGG features as an alternative to Gram."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.base import Targets, View
from velatura.losses.gram import STYLE_LAYERS

COLOUR_DIRECTIONS, FEATURE_DIRECTIONS = 32, 64
POINTS = 4096  # of a picture, drawn at random where it has more


def sliced_wasserstein(ours: Tensor, theirs: Tensor, directions: Tensor) -> Tensor:
    """Mean over unit ``directions`` (K, C) of the W1 distance of point clouds (C, N) and (C, M) along each.

    Clouds of unequal size are compared at the quantiles of the smaller (Rabin et al. 2011; Heitz et al. 2021).
    """
    along = [(directions @ cloud).sort(dim=1).values for cloud in (ours, theirs)]
    count = min(cloud.shape[1] for cloud in along)
    ours, theirs = (
        cloud if cloud.shape[1] == count else F.interpolate(cloud[:, None], count, mode="linear")[:, 0]
        for cloud in along
    )
    return (ours - theirs).abs().mean()


def unit_directions(count: int, channels: int, generator: torch.Generator) -> Tensor:
    """Uniform on the sphere: (count, channels)."""
    return F.normalize(torch.randn(count, channels, generator=generator), dim=1)


def points_of(maps: Tensor, generator: torch.Generator) -> Tensor:
    """The columns (C, N) of the first of the maps (B, C, H, W), at most 4096 of them."""
    columns = maps[0].flatten(1).float()
    if columns.shape[1] <= POINTS:
        return columns
    return columns[:, torch.randperm(columns.shape[1], generator=generator)[:POINTS].to(columns.device)]


class ColourWasserstein:
    """Sliced W1 of the pixels' RGB colours: the whole palette, not only its moments."""

    name = "palette"
    layers: tuple[str, ...] = ()
    encodes = False

    def __init__(self, targets: Targets) -> None:
        self.draws = targets.draws
        picture = targets.style_picture(self.name)
        self.wanted = targets.once(self.name, lambda draws: points_of(picture, draws))

    def __call__(self, view: View, content: View) -> Tensor:
        directions = unit_directions(COLOUR_DIRECTIONS, 3, self.draws).to(view.pixels)
        return sliced_wasserstein(points_of(view.pixels, self.draws), self.wanted, directions)


class FeatureWasserstein:
    """Sliced W1 of VGG16 columns, over each layer's own spread, averaged over the Gram loss's layers."""

    name = "texture"
    layers: tuple[str, ...] = STYLE_LAYERS
    encodes = False

    def __init__(self, targets: Targets) -> None:
        self.draws = targets.draws
        picture = targets.style_picture(self.name)

        @torch.no_grad()
        def clouds(draws: torch.Generator) -> dict[str, Tensor]:
            features = targets.trunk.features(picture, self.layers)
            return {layer: points_of(value, draws) for layer, value in features.items()}

        self.wanted = targets.once(self.name, clouds)
        self.spread = {layer: points.std().clamp(min=1e-6) for layer, points in self.wanted.items()}

    def __call__(self, view: View, content: View) -> Tensor:
        distances = []
        for layer, wanted in self.wanted.items():
            directions = unit_directions(FEATURE_DIRECTIONS, len(wanted), self.draws).to(wanted)
            ours = points_of(view.features[layer], self.draws)
            distances.append(sliced_wasserstein(ours, wanted, directions) / self.spread[layer])
        return torch.stack(distances).mean()
