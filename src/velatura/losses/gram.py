"""Texture distance to the style by Gram matrices (Gatys et al. 2016; the poster's G)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from velatura.losses.base import LossInput, Targets

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


def gram_matrix(features: Tensor) -> Tensor:
    """The mean over positions of the channels' outer product: (B, C, H, W) to (B, C, C)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def relative_gram_distance(grams: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """The mean over layers of ||G - A||^2 / ||A||^2, Gram matrices (B, C, C) by layer.

    It has no unit, so that a weight means the same with every feature network.
    """
    distances = [
        (grams[layer] - target).square().sum((1, 2)).mean() / target.square().sum((1, 2)).mean().clamp(min=1e-12)
        for layer, target in targets.items()
    ]
    return torch.stack(distances).mean()


class GramDistance:
    """Relative Gram distance to the style over relu1_1, relu2_1, relu3_1 and relu4_1."""

    name = "gram"
    layers: tuple[str, ...] = STYLE_LAYERS
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        self.style = targets.style_statistics(self.name).grams

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        grams = {layer: gram_matrix(result.features[layer]) for layer in self.layers}
        return relative_gram_distance(grams, self.style)
