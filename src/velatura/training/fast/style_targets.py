"""What is wanted of a result in a style, kept from its first use on: its words, and features of the style picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from velatura.losses.gram import gram_matrix
from velatura.losses.wasserstein import STYLE_POINTS, Sliced, at_quantiles, draw_points, unit_directions
from velatura.models.features.vgg import VGGTrunk
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_painter import PaintedStyle
from velatura.picture.palette import Palette, palette_of

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
DIRECTIONS, QUANTILES = 64, 64
SIDE = 192  # px of the centre that features are taken of


@dataclass(frozen=True, eq=False)
class StyleTarget:
    """A style as the network takes it (``painted``), and its ``palette``."""

    painted: PaintedStyle
    palette: Palette


@dataclass(frozen=True, eq=False)
class StyleFeatures:
    """Statistics of a style picture's features by layer.

    ``grams`` (C, C) are Gram matrices, ``directions`` (K, C) unit vectors over the style's deviation along each, and
    ``along`` (K, 64) the quantiles of the features' projections on these.
    """

    grams: Mapping[str, Tensor]
    directions: Mapping[str, Tensor]
    along: Mapping[str, Tensor]


@torch.no_grad()
def style_features(pixels: Tensor, trunk: VGGTrunk) -> StyleFeatures:
    """The features of the centre of a style picture (1, 3, H, W); Gram matrices in bf16, for there are many."""
    top, left = ((length - SIDE) // 2 for length in pixels.shape[2:])
    grams, directions, along = {}, {}, {}
    for layer, maps in trunk.features(pixels[..., top : top + SIDE, left : left + SIDE], LAYERS).items():
        grams[layer] = gram_matrix(maps.float())[0].bfloat16()
        generator = torch.Generator().manual_seed(0)
        cloud = draw_points(maps, STYLE_POINTS, generator)
        units = unit_directions(DIRECTIONS, len(cloud), generator).to(cloud)
        sliced = Sliced.of(cloud, units)
        deviation = sliced.along.std(1, keepdim=True).clamp(min=1e-3 * float(cloud.std()))
        directions[layer] = units / deviation
        along[layer] = at_quantiles(sliced.along / deviation, QUANTILES)
    return StyleFeatures(grams, directions, along)


class StyleTargets:
    """Targets and features of styles by the picture's path, computed at first use."""

    def __init__(self, backbone: HouseBackbone, trunk: VGGTrunk) -> None:
        self.backbone, self.trunk = backbone, trunk
        self._targets: dict[Path, StyleTarget] = {}
        self._features: dict[Path, StyleFeatures] = {}

    def of(self, path: Path, pixels: Tensor) -> StyleTarget:
        """The target of the picture (1, 3, H, W) in the file ``path``."""
        if path not in self._targets:
            painted = self.backbone.painted_style(self.backbone.style_vector(pixels))
            self._targets[path] = StyleTarget(painted, palette_of(pixels))
        return self._targets[path]

    def features(self, path: Path, pixels: Tensor) -> StyleFeatures:
        """The features of the picture (1, 3, H, W) in the file ``path``."""
        if path not in self._features:
            self._features[path] = style_features(pixels.to(self.backbone.device), self.trunk)
        return self._features[path]
