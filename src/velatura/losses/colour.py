"""Colour distance to the style: first and second moments of the pixels' colours."""

from __future__ import annotations

from torch import Tensor

from velatura.losses.base import LossInput, Targets
from velatura.picture.colour import colour_moments


class ColourMoments:
    """||mean difference||^2 + ||difference of the covariance's Cholesky factors||_F^2, of RGB in [-1, 1]."""

    name = "colour"
    layers: tuple[str, ...] = ()
    needs_encoder_maps = False

    def __init__(self, targets: Targets) -> None:
        statistics = targets.style_statistics(self.name)
        self.mean, self.factor = statistics.colour_mean, statistics.colour_factor

    def __call__(self, result: LossInput, content: LossInput) -> Tensor:
        mean, factor = colour_moments(result.pixels)
        return (mean - self.mean).square().sum() + (factor - self.factor).square().sum()
