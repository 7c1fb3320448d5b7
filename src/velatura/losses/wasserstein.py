"""Sliced Wasserstein distances to the style: of colours, and of VGG16 features.

Rabin et al. 2011 (colours), Heitz et al. 2021 (features).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.base import LossInput, Targets
from velatura.losses.gram import STYLE_LAYERS

COLOUR_DIRECTIONS, FEATURE_DIRECTIONS = 32, 64
SETS = 4  # of directions, one of which each step draws: the style is sorted along them once, not in every step
Clouds = Sequence[tuple[Tensor, float]]  # points (C, N_i), and shares that sum to 1
STYLE_POINTS, POINTS = 4096, 2048  # points of the style and of the result, drawn at random where there are more


@dataclass(frozen=True)
class Sliced:
    """A point cloud's projections (K, N) on unit ``directions`` (K, C), sorted ``along`` each."""

    directions: Tensor
    along: Tensor

    @classmethod
    def of(cls, cloud: Tensor, directions: Tensor) -> Sliced:
        """The sorted projections of a cloud (C, N) on ``directions`` (K, C)."""
        return cls(directions, (directions @ cloud).sort(dim=1).values)

    def distance(self, cloud: Tensor) -> Tensor:
        """The mean over the directions of the W1 distance to another cloud (C, M).

        Clouds of unequal size are compared at the quantiles of the smaller.
        """
        both = (Sliced.of(cloud, self.directions).along, self.along)
        count = min(rows.shape[1] for rows in both)
        x, y = (at_quantiles(rows, count) for rows in both)
        return (x - y).abs().mean()

    @classmethod
    def barycentre(cls, clouds: Clouds, directions: Tensor) -> Sliced:
        """The projections of several clouds (C, N_i), sorted and averaged by their shares at equal quantiles.

        Along each direction this is the Wasserstein barycentre (Bonneel et al. 2015).
        """
        count = max(cloud.shape[1] for cloud, _ in clouds)
        parts = [share * at_quantiles(cls.of(cloud, directions).along, count) for cloud, share in clouds]
        return cls(directions, torch.stack(parts).sum(0))


def at_quantiles(rows: Tensor, count: int) -> Tensor:
    """Sorted rows (K, N) at ``count`` equally spaced quantiles: (K, count)."""
    return rows if rows.shape[1] == count else F.interpolate(rows[:, None], count, mode="linear")[:, 0]


def slices_of(clouds: Clouds, count: int, generator: torch.Generator) -> list[Sliced]:
    """The barycentre of clouds (C, N_i) along each of 4 random sets of ``count`` directions."""
    first = clouds[0][0]
    sets = [unit_directions(count, len(first), generator).to(first) for _ in range(SETS)]
    return [Sliced.barycentre(clouds, directions) for directions in sets]


def draw_one(slices: Sequence[Sliced], generator: torch.Generator) -> Sliced:
    """One of ``slices`` at random."""
    return slices[int(torch.randint(len(slices), (1,), generator=generator))]


def unit_directions(count: int, channels: int, generator: torch.Generator) -> Tensor:
    """Unit vectors (count, channels), uniform on the sphere."""
    return F.normalize(torch.randn(count, channels, generator=generator), dim=1)


def draw_points(maps: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """The columns (C, N) of the first of ``maps`` (B, C, H, W); ``most`` of them at random where there are more."""
    columns = maps[0].flatten(1).float()
    if columns.shape[1] <= most:
        return columns
    return columns[:, torch.randperm(columns.shape[1], generator=generator)[:most].to(columns.device)]


class ColourWasserstein:
    """Sliced W1 distance of the pixels' RGB colours in [-1, 1]: of their distribution, not only its moments."""

    name = "palette"
    layers: tuple[str, ...] = ()
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        self.generator = targets.generator
        pictures = targets.style_pictures(self.name)

        def sliced(generator: torch.Generator) -> list[Sliced]:
            clouds = [(draw_points(picture, STYLE_POINTS, generator), share) for picture, share in pictures]
            return slices_of(clouds, COLOUR_DIRECTIONS, generator)

        self.style = targets.cached(self.name, sliced)

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        pixels = result.pixels if result.weighted is None else result.weighted
        return draw_one(self.style, self.generator).distance(draw_points(pixels, POINTS, self.generator))


class FeatureWasserstein:
    """Sliced W1 distance of VGG16 feature columns, divided by the style's standard deviation in each layer.

    The mean over the layers of the Gram loss.
    """

    name = "texture"
    layers: tuple[str, ...] = STYLE_LAYERS
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        self.generator = targets.generator
        pictures = targets.style_pictures(self.name)

        @torch.no_grad()
        def sliced(generator: torch.Generator) -> dict[str, tuple[list[Sliced], Tensor]]:
            clouds: dict[str, list[tuple[Tensor, float]]] = {}
            for picture, share in pictures:
                for layer, value in targets.trunk.features(picture, self.layers).items():
                    clouds.setdefault(layer, []).append((draw_points(value, STYLE_POINTS, generator), share))
            return {
                layer: (slices_of(own, FEATURE_DIRECTIONS, generator), _mean_deviation(own).clamp(min=1e-6))
                for layer, own in clouds.items()
            }

        self.style = targets.cached(self.name, sliced)

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        distances = []
        for layer, (slices, deviation) in self.style.items():
            style = draw_one(slices, self.generator)
            points = draw_points(result.features[layer], POINTS, self.generator)
            distances.append(style.distance(points) / deviation)
        return torch.stack(distances).mean()


def _mean_deviation(clouds: Clouds) -> Tensor:
    return torch.stack([share * cloud.std() for cloud, share in clouds]).sum()
