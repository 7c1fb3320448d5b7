"""The shape of a loss, and their sum over one picture and one pass through the feature network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from velatura.models.perceptual import VGG16Trunk


@dataclass(frozen=True)
class View:
    """A picture as losses look at it: ``pixels`` (B, 3, H, W), about [-1, 1], and named VGG16 ``features``."""

    pixels: Tensor
    features: Mapping[str, Tensor]


@dataclass(frozen=True)
class StyleStatistics:
    """What losses need of a style picture: Gram matrices by layer, mean colour (3,), colour factor (3, 3)."""

    grams: Mapping[str, Tensor]
    colour_mean: Tensor
    colour_factor: Tensor


@dataclass(frozen=True)
class Targets:
    """What a result is compared with: the content, seen, and the style's statistics."""

    content: View
    style: StyleStatistics


class Loss(Protocol):
    """A named, non-negative number about a picture, zero where nothing is left to want."""

    name: str
    layers: tuple[str, ...]

    def __call__(self, view: View) -> Tensor:
        """The loss, a scalar, differentiable with respect to the view's pixels and features."""
        ...


@dataclass(frozen=True)
class Objective:
    """A weighted sum of losses that share one pass through the feature network."""

    terms: tuple[tuple[float, Loss], ...]
    trunk: VGG16Trunk

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that any of the losses looks at."""
        return tuple(sorted({layer for _, loss in self.terms for layer in loss.layers}))

    def __call__(self, pixels: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum for (B, 3, H, W), and each loss's own value by name."""
        features = self.trunk.features(pixels, self.layers) if self.layers else {}
        view = View(pixels, {layer: value.float() for layer, value in features.items()})
        values = {loss.name: loss(view) for _, loss in self.terms}
        total = sum((weight * values[loss.name] for weight, loss in self.terms), start=pixels.new_zeros(()))
        return torch.as_tensor(total), {name: value.item() for name, value in values.items()}
