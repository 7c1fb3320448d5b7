"""Losses on a decoded x0 estimate: each in a file of its own, listed here by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from velatura.errors import SettingError
from velatura.losses.base import Encoder, Loss, LossInput, Objective, StyleStatistics, Targets, Term
from velatura.losses.clip import DirectionalClip, GlobalClip, PatchClip, PatchDirectionalClip
from velatura.losses.colour import ColourMoments
from velatura.losses.gram import GramDistance
from velatura.losses.mse import LumaMSE, PixelMSE
from velatura.losses.range import OutOfRange
from velatura.losses.structure import LocalStructure
from velatura.losses.variation import TotalVariation
from velatura.losses.vgg import FeatureMSE, ShallowFeatureMSE
from velatura.losses.wasserstein import ColourWasserstein, FeatureWasserstein
from velatura.losses.zecon import ZeCon
from velatura.span import WHOLE_RUN, Span

LOSSES: Mapping[str, Callable[[Targets], Loss]] = {
    LumaMSE.name: LumaMSE,
    PixelMSE.name: PixelMSE,
    FeatureMSE.name: FeatureMSE,
    ShallowFeatureMSE.name: ShallowFeatureMSE,
    LocalStructure.name: LocalStructure,
    ZeCon.name: ZeCon,
    GramDistance.name: GramDistance,
    FeatureWasserstein.name: FeatureWasserstein,
    ColourMoments.name: ColourMoments,
    ColourWasserstein.name: ColourWasserstein,
    GlobalClip.name: GlobalClip,
    PatchClip.name: PatchClip,
    DirectionalClip.name: DirectionalClip,
    PatchDirectionalClip.name: PatchDirectionalClip,
    TotalVariation.name: TotalVariation,
    OutOfRange.name: OutOfRange,
}
CLIP_LOSSES = frozenset({GlobalClip.name, PatchClip.name, DirectionalClip.name, PatchDirectionalClip.name})
PICTURE_LOSSES = frozenset({GramDistance.name, FeatureWasserstein.name, ColourMoments.name, ColourWasserstein.name})
COLOUR_LOSSES = frozenset({ColourMoments.name, ColourWasserstein.name})
CONTENT_LOSSES = frozenset(
    {LumaMSE.name, PixelMSE.name, FeatureMSE.name, ShallowFeatureMSE.name, LocalStructure.name, ZeCon.name}
)

MAX_WEIGHT = 1_000_000


def check_losses(weights: Mapping[str, float], spans: Mapping[str, Span]) -> None:
    """Raise SettingError for an unknown name, a weight outside 0..1e6, or a span that does not rise within 0..1."""
    for name in (*weights, *spans):
        if name not in LOSSES:
            raise SettingError(f"Unknown loss '{name}': use {', '.join(LOSSES)}.")
    for name, weight in weights.items():
        if not 0 <= weight <= MAX_WEIGHT:
            raise SettingError(f"The weight of the loss '{name}' must be from 0 to {MAX_WEIGHT:,}, not {weight}.")
    for name, span in spans.items():
        span.check(f"the loss '{name}'")


def make_objective(
    weights: Mapping[str, float],
    targets: Targets,
    spans: Mapping[str, Span] | None = None,
    encoder: Encoder | None = None,
    losses: Mapping[str, Callable[[Targets], Loss]] = LOSSES,
) -> Objective:
    """The weighted sum of named losses, each in its span of the run (by default all of it).

    Losses of weight 0 are not computed. ``encoder`` gives the UNet's encoder maps of latents, for the losses that need
    them. Raises what ``check_losses`` does, and SettingError for a loss whose targets are missing.
    """
    spans = spans or {}
    check_losses(weights, spans)
    terms = [
        Term(losses[name](targets), weight, spans.get(name, WHOLE_RUN)) for name, weight in weights.items() if weight
    ]
    return Objective(tuple(terms), targets.trunk, encoder)


__all__ = [
    "CLIP_LOSSES",
    "COLOUR_LOSSES",
    "CONTENT_LOSSES",
    "LOSSES",
    "PICTURE_LOSSES",
    "Loss",
    "LossInput",
    "Objective",
    "StyleStatistics",
    "Targets",
    "Term",
    "check_losses",
    "make_objective",
]
