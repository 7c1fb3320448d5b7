"""Sliced Wasserstein distances to the style: of its colours, and of its VGG features as an alternative to Gram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.base import Targets, View
from velatura.losses.gram import STYLE_LAYERS

COLOUR_DIRECTIONS, FEATURE_DIRECTIONS = 32, 64
SETS = 4  # of directions, which take turns at random: along each, the style is sorted once and not in every step
STYLE_POINTS, POINTS = 4096, 2048  # of the style and of what is compared with it, drawn at random where there are more


@dataclass(frozen=True)
class Sliced:
    """A cloud of points sorted along unit directions (K, C): (K, N)."""

    directions: Tensor
    along: Tensor

    @classmethod
    def of(cls, cloud: Tensor, directions: Tensor) -> Sliced:
        """A cloud (C, N) along ``directions`` (K, C)."""
        return cls(directions, (directions @ cloud).sort(dim=1).values)

    def distance(self, cloud: Tensor) -> Tensor:
        """Mean over the directions of the W1 distance of another cloud (C, M).

        Clouds of unequal size are compared at the quantiles of the smaller (Rabin et al. 2011; Heitz et al. 2021).
        """
        both = (Sliced.of(cloud, self.directions).along, self.along)
        count = min(rows.shape[1] for rows in both)
        ours, theirs = (
            rows if rows.shape[1] == count else F.interpolate(rows[:, None], count, mode="linear")[:, 0]
            for rows in both
        )
        return (ours - theirs).abs().mean()


def slices_of(cloud: Tensor, count: int, draws: torch.Generator) -> list[Sliced]:
    """The cloud (C, N) along ``SETS`` sets of ``count`` directions."""
    sets = [unit_directions(count, len(cloud), draws).to(cloud) for _ in range(SETS)]
    return [Sliced.of(cloud, directions) for directions in sets]


def one_of(slices: Sequence[Sliced], draws: torch.Generator) -> Sliced:
    """Any of them."""
    return slices[int(torch.randint(len(slices), (1,), generator=draws))]


def unit_directions(count: int, channels: int, generator: torch.Generator) -> Tensor:
    """Uniform on the sphere: (count, channels)."""
    return F.normalize(torch.randn(count, channels, generator=generator), dim=1)


def points_of(maps: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """The columns (C, N) of the first of the maps (B, C, H, W), at most ``most`` of them."""
    columns = maps[0].flatten(1).float()
    if columns.shape[1] <= most:
        return columns
    return columns[:, torch.randperm(columns.shape[1], generator=generator)[:most].to(columns.device)]


class ColourWasserstein:
    """Sliced W1 of the pixels' RGB colours: the whole palette, not only its moments."""

    name = "palette"
    layers: tuple[str, ...] = ()
    encodes = False

    def __init__(self, targets: Targets) -> None:
        self.draws = targets.draws
        picture = targets.style_picture(self.name)
        self.wanted = targets.once(
            self.name, lambda draws: slices_of(points_of(picture, STYLE_POINTS, draws), COLOUR_DIRECTIONS, draws)
        )

    def __call__(self, view: View, content: View) -> Tensor:
        return one_of(self.wanted, self.draws).distance(points_of(view.pixels, POINTS, self.draws))


class FeatureWasserstein:
    """Sliced W1 of VGG16 columns, over each layer's own spread, averaged over the Gram loss's layers."""

    name = "texture"
    layers: tuple[str, ...] = STYLE_LAYERS
    encodes = False

    def __init__(self, targets: Targets) -> None:
        self.draws = targets.draws
        picture = targets.style_picture(self.name)

        @torch.no_grad()
        def sliced(draws: torch.Generator) -> dict[str, tuple[list[Sliced], Tensor]]:
            features = targets.trunk.features(picture, self.layers)
            clouds = {layer: points_of(value, STYLE_POINTS, draws) for layer, value in features.items()}
            return {
                layer: (slices_of(cloud, FEATURE_DIRECTIONS, draws), cloud.std().clamp(min=1e-6))
                for layer, cloud in clouds.items()
            }

        self.wanted = targets.once(self.name, sliced)

    def __call__(self, view: View, content: View) -> Tensor:
        distances = [
            one_of(slices, self.draws).distance(points_of(view.features[layer], POINTS, self.draws)) / spread
            for layer, (slices, spread) in self.wanted.items()
        ]
        return torch.stack(distances).mean()
