"""Losses on the student's decoded x0 estimates: texture of the style, layout of the content (amortised guidance)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.losses.range import out_of_range
from velatura.losses.structure import normalised
from velatura.losses.wasserstein import Sliced
from velatura.models.features.vgg import VGGTrunk
from velatura.training.fast.style_targets import LAYERS, StyleFeatures

POINTS = 1024  # of the result's features, drawn at random where there are more
DRAWN = 32  # directions of a step
BLUR = 4  # px of the cells in which colours are compared


@dataclass(frozen=True)
class Weights:
    """Weights of the losses: ``texture`` is a sliced Wasserstein distance, ``tones`` the light and colour of cells."""

    gram: float = 1.0
    texture: float = 1.0
    structure: float = 0.7
    tones: float = 1.0
    range: float = 1.0


def stylisation_loss(
    pixels: Tensor, contents: Tensor, styles: Sequence[StyleFeatures], trunk: VGGTrunk, weights: Weights
) -> tuple[Tensor, Mapping[str, float]]:
    """The weighted losses of results (B, 3, H, W) on contents in their styles' colours; and each one's own value.

    A distance of Gram matrices g enters as log(1 + g), so that one odd style does not rule a batch.
    """
    features = trunk.features(pixels.contiguous(memory_format=torch.channels_last), LAYERS)
    parts = {
        "gram": torch.stack([_gram(features[layer], layer, styles) for layer in LAYERS]).mean(),
        "texture": torch.stack([_texture(features[layer], layer, styles) for layer in LAYERS]).mean(),
        "structure": _structure(pixels, contents),
        "tones": F.mse_loss(F.avg_pool2d(pixels, BLUR), F.avg_pool2d(contents, BLUR)),
        "range": out_of_range(pixels).mean(),
    }
    total = torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum()
    return total, {name: value.item() for name, value in parts.items()}


def _gram(maps: Tensor, layer: str, styles: Sequence[StyleFeatures]) -> Tensor:
    columns = maps.permute(0, 2, 3, 1).flatten(1, 2)
    grams = (columns.transpose(1, 2) @ columns).float() / columns.shape[1]
    wanted = torch.stack([style.grams[layer].float() for style in styles])
    distances = (grams - wanted).square().sum((1, 2)) / wanted.square().sum((1, 2)).clamp(min=1e-12)
    return distances.log1p().mean()


def _texture(maps: Tensor, layer: str, styles: Sequence[StyleFeatures]) -> Tensor:
    columns, points = maps.flatten(2), maps.shape[2] * maps.shape[3]
    if points > POINTS:
        columns = columns[..., torch.randperm(points, device=maps.device)[:POINTS]]
    drawn = torch.randperm(len(styles[0].directions[layer]))[:DRAWN]
    distances = [
        Sliced(style.directions[layer][drawn], style.along[layer][drawn]).distance(cloud.float())
        for cloud, style in zip(columns, styles, strict=True)
    ]
    return torch.stack(distances).mean()


def _structure(pixels: Tensor, contents: Tensor) -> Tensor:
    found = zip(normalised(pixels), normalised(contents), strict=True)
    return torch.stack([F.mse_loss(own, wanted) for own, wanted in found]).mean() / 2
