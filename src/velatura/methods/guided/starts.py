"""What a run starts from: an inversion of the content or of what the fast method paints of it, or noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from velatura.diffusion.cached_inversion import InversionSettings, cached_inversion
from velatura.diffusion.samplers import Run, start_level
from velatura.errors import SettingError
from velatura.methods.adapters.settings import ADAPTERS
from velatura.methods.context import RunContext
from velatura.methods.fast_painting import has_fast_adapter, painted_by, painted_latents, painter_of
from velatura.methods.guided.mixing import GuidedMix
from velatura.methods.guided.settings import FAST, INVERSION, NOISE, GuidedSettings
from velatura.methods.recommendations import with_recommended
from velatura.methods.strokes.painting import strokes_of, with_region_strokes
from velatura.methods.strokes.vectors import style_vector_of
from velatura.methods.validation import changed
from velatura.models.backbone import Backbone
from velatura.models.house.backbone import HouseBackbone
from velatura.models.house.fast_painter import PaintedStyle
from velatura.models.noise_schedule import add_noise
from velatura.models.recommended import RecommendedSettings
from velatura.regions import Placement
from velatura.style import Style

S = TypeVar("S", bound=GuidedSettings)


def with_start(settings: S, styles: Sequence[Style], backbone: Backbone, advice: RecommendedSettings) -> S:
    """Settings with the start that is recommended where none was asked for, or inversion.

    A painting is left out where the model paints none, where adapters act, which do not join the painter, and for
    styles in words.
    """
    chosen = with_recommended(settings, {"start": INVERSION}, advice)
    if settings.start or chosen.start != FAST:
        return chosen
    pictured = not any(GuidedMix.of(style).in_words for style in styles)
    paints = pictured and not changed(settings, ADAPTERS) and has_fast_adapter(backbone)
    return chosen if paints else replace(chosen, start=INVERSION)


def check_start(settings: GuidedSettings, styles: Sequence[Style], backbone: Backbone) -> None:
    """Raise ModelError for a painting on a model that paints none, SettingError for one in a style in words."""
    if settings.start != FAST:
        return
    painter_of(backbone)
    in_words = [style.name for style in styles if GuidedMix.of(style).in_words]
    if in_words:
        raise SettingError(
            f"start={FAST} paints by a style picture, and the style '{in_words[0]}' is in words: leave start out, or "
            "give a picture."
        )


def start_described(settings: GuidedSettings, backbone: Backbone) -> dict[str, Any]:
    """What the manifest tells of the start: the networks that painted it, where they did."""
    if settings.start != FAST or not settings.strength:
        return {}
    return painted_by(cast("HouseBackbone", backbone), settings.strokes)


def start_latents(
    latents: Tensor, placement: Placement, settings: GuidedSettings, context: RunContext[Backbone]
) -> Tensor:
    """x_t at the level from which the run starts, of clean ``latents`` (1, C, h, w) or of what is painted of them.

    Raises ModelError for a painting on a model that paints none.
    """
    clean = _painted(latents, placement, settings, context) if settings.start == FAST else latents
    if not settings.run_steps:
        return clean
    if settings.start == NOISE:
        run = Run(settings.steps, settings.run_steps)
        _, abar = start_level(settings.sampler, context.backbone.schedule, run)
        return add_noise(clean, context.noise(clean.shape), abar)
    inversion = InversionSettings(settings.steps, settings.run_steps, settings.corrections, settings.inversion)
    return cached_inversion(
        context.backbone, clean, context.unconditional(), inversion, context.cache, context.progress
    )


def _painted(latents: Tensor, placement: Placement, settings: GuidedSettings, context: RunContext[Backbone]) -> Tensor:
    house = cast("RunContext[HouseBackbone]", context)
    styles = [_painted_style(region.style, house) for region in placement.regions]
    painted = painted_latents(latents, placement, styles, settings.painting, house)
    share = settings.strokes * min(1.0, 2 * settings.strength)
    backbone, strokes = house.backbone, strokes_of(placement.regions, [style.vector for style in styles], house)
    if not share or not strokes:
        return painted
    with torch.no_grad():
        pixels = with_region_strokes(backbone.decode(painted), placement, strokes, share)
        reached = placement.reached((latents.shape[2], latents.shape[3])).to(latents)
        return torch.lerp(painted, backbone.encode(pixels), reached)


def _painted_style(style: Style, context: RunContext[HouseBackbone]) -> PaintedStyle:
    """A style as the painter takes it; ``check_start`` has refused those without a picture."""
    return context.backbone.painted_style(cast("Tensor", style_vector_of(style, context)))
