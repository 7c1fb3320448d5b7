"""Texture distance to the style: Gram matrices (Gatys et al. 2016; the poster's G)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from velatura.losses.base import Targets, View

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


def gram_matrix(features: Tensor) -> Tensor:
    """Mean over positions of the outer product of the channels: (B, C, H, W) to (B, C, C)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def relative_gram_distance(grams: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Mean over layers of ||G - A||^2 / ||A||^2: without unit, so it does not depend on the feature network."""
    distances = [
        (grams[layer] - target).square().sum((1, 2)).mean() / target.square().sum((1, 2)).mean().clamp(min=1e-12)
        for layer, target in wanted.items()
    ]
    return torch.stack(distances).mean()


class GramDistance:
    """Relative Gram distance to the style over relu1_1, relu2_1, relu3_1 and relu4_1."""

    name = "gram"
    layers: tuple[str, ...] = STYLE_LAYERS
    encodes = False

    def __init__(self, targets: Targets) -> None:
        self.wanted = targets.style_statistics(self.name).grams

    def __call__(self, view: View, content: View) -> Tensor:
        return relative_gram_distance({layer: gram_matrix(view.features[layer]) for layer in self.layers}, self.wanted)
