"""What is wanted of a picture: each loss in its own file, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from velatura.errors import SettingError
from velatura.losses.base import Loss, Objective, StyleStatistics, Targets, View
from velatura.losses.colour import ColourMoments
from velatura.losses.gram import GramDistance
from velatura.losses.mse import PixelMSE
from velatura.losses.range import OutOfRange
from velatura.losses.vgg import FeatureMSE
from velatura.models.perceptual import VGG16Trunk

LOSSES: Mapping[str, Callable[[Targets], Loss]] = {
    PixelMSE.name: PixelMSE,
    FeatureMSE.name: FeatureMSE,
    GramDistance.name: GramDistance,
    ColourMoments.name: ColourMoments,
    OutOfRange.name: OutOfRange,
}


def make_objective(weights: Mapping[str, float], targets: Targets, trunk: VGG16Trunk) -> Objective:
    """The weighted sum of named losses; those of weight 0 are not computed.

    Raises SettingError for an unknown name or a negative weight.
    """
    for name, weight in weights.items():
        if name not in LOSSES:
            raise SettingError(f"Unknown loss '{name}': use {', '.join(LOSSES)}.")
        if weight < 0:
            raise SettingError(f"The weight of the loss '{name}' must not be negative, but is {weight}.")
    terms = [(weight, LOSSES[name](targets)) for name, weight in weights.items() if weight > 0]
    return Objective(tuple(terms), trunk)


__all__ = ["LOSSES", "Loss", "Objective", "StyleStatistics", "Targets", "View", "make_objective"]
