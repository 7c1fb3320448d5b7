"""The losses of each region: L = L_content + L_style of the poster, set up for one content."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from velatura.errors import ModelError, SettingError
from velatura.losses import CLIP_LOSSES, LossInput, Objective, StyleStatistics, Targets, make_objective
from velatura.losses.clip_targets import (
    ClipTargets,
    clip_targets_of_picture,
    clip_targets_of_text,
    mixed_clip_targets,
)
from velatura.losses.crop import Crop, crops_over
from velatura.losses.statistics import mixed_statistics, style_statistics
from velatura.methods.context import RunContext
from velatura.methods.guided.fitting import GuidedStyle
from velatura.methods.guided.mixing import GuidedMix, pictures_at
from velatura.models.backbone import PLACEHOLDER, Backbone, HasUNet
from velatura.models.encoders.choice import EfficientNetImageEncoder, image_encoder_for, without_clip
from velatura.models.encoders.clip import ClipImageEncoder
from velatura.models.features.vgg import VGGTrunk, perceptual_trunk
from velatura.regions import Region
from velatura.span import WHOLE_RUN, Span
from velatura.style.mixing import rescaled

SEEDS_APART = 1_000_003  # of a run's steps, so that runs of neighbouring seeds draw differently
PLAIN_TEXT = "Photo"  # what the direction of a style in words leads away from (ZeCon's default)
AnyImageEncoder = ClipImageEncoder | EfficientNetImageEncoder


@dataclass(frozen=True, eq=False)
class EncodedContent:
    """A content as losses see it, ``pixels`` (1, 3, H, W), and its clean ``latents`` (1, C, h, w).

    ``original`` are its pixels where those were moved to the style's colours; ``detail`` (1, 1, H, W) is how much of
    the style losses' gradient each place gets (None: all of it).
    """

    pixels: Tensor
    latents: Tensor
    original: Tensor | None = None
    detail: Tensor | None = None


@dataclass(frozen=True)
class LossSettings:
    """The losses' ``weights`` and ``spans`` by name, and the side in pixels of the features' crops (0: no crops)."""

    weights: Mapping[str, float]
    spans: Mapping[str, Span] = field(default_factory=dict)
    crop_side: int = 0


@dataclass(frozen=True, eq=False)
class RegionObjective:
    """The losses of one region.

    ``contents`` are the content as the ``objective`` compares it, one for each crop. The region acts in its ``share``
    (1, 1, h, w), in 0..1, of the latents (None: everywhere), in its ``span`` of the run; where spans of several regions
    change it, ``shares`` has it by timestep. ``encoder_source`` names the image encoder, where a loss has one;
    ``losses_off`` the losses that were left out, for want of a style picture. The losses draw from ``generator``.
    """

    objective: Objective
    contents: tuple[LossInput, ...]
    share: Tensor | None = None
    span: Span = WHOLE_RUN
    encoder_source: str = ""
    losses_off: tuple[str, ...] = ()
    shares: Mapping[int, Tensor] = field(default_factory=dict)
    generator: torch.Generator = field(default_factory=torch.Generator)
    seed: int = 0

    def begin(self, step: int) -> None:
        """Seed what the losses draw in a step by its number alone: regions draw alike, whenever their spans began."""
        self.generator.manual_seed((self.seed + SEEDS_APART * (step + 1)) % 2**32)

    def content(self, step: int) -> LossInput:
        """The content in the crop of a step: crops take turns."""
        return self.contents[step % len(self.contents)]


def region_objective(
    region: Region, share: Tensor | None, content: EncodedContent, settings: LossSettings, context: RunContext[Backbone]
) -> RegionObjective:
    """The objective of a region that covers ``share`` (1, 1, h, w) of the latents; all that is fixed is computed here.

    Raises SettingError for a loss that the style has nothing for and for a style in words without CLIP, ModelError for
    a loss on a UNet's encoder maps where the model has no UNet.
    """
    backbone, device = context.backbone, context.device
    style, trunk = GuidedMix.of(region.style, device), perceptual_trunk(device, backbone.dtype)
    generator = context.generator()
    side = min(content.pixels.shape[2:])
    off = style.losses_off(settings.weights)
    weights = {name: weight for name, weight in settings.weights.items() if name not in off}
    uses_clip = any(weights.get(name) for name in CLIP_LOSSES)
    encoder = image_encoder_for(backbone.name, device) if uses_clip else None
    with torch.no_grad():
        targets = Targets(
            LossInput(content.pixels),
            statistics_of_mix(style, side, trunk, context),
            pictures_at(style, side, device),
            trunk,
            encoder,
            clip_targets_of_mix(style, side, encoder, context) if encoder else None,
            generator,
            context.cache,
            region.style.identity,
            content.original,
        )
        unet_encoder = backbone.encoder_maps if isinstance(backbone, HasUNet) else None
        objective = replace(make_objective(weights, targets, settings.spans, unet_encoder), detail=content.detail)
        check_encoder_maps(objective, backbone)
        height, width = content.pixels.shape[2:]
        crops = crops_over((height, width), settings.crop_side, context.generator(), share)
        inputs = content_inputs(objective, content, crops)
    source = encoder.source if encoder else ""
    return RegionObjective(objective, inputs, share, region.span, source, off, generator=generator, seed=context.seed)


def check_encoder_maps(objective: Objective, backbone: Backbone) -> None:
    """Raise ModelError for a loss on a UNet's encoder maps where the model has no UNet."""
    names = [term.loss.name for term in objective.terms if term.loss.needs_encoder_maps]
    if names and objective.encoder is None:
        raise ModelError(
            f"The loss {names[0]} needs a UNet's encoder, which the model {backbone.name} has not: leave it out with "
            f"--loss {names[0]}=0."
        )


@torch.no_grad()
def content_inputs(objective: Objective, content: EncodedContent, crops: Sequence[Crop]) -> tuple[LossInput, ...]:
    """The content as all terms of an ``objective`` compare it, one for each crop; the encoder maps are shared."""
    whole = LossInput(content.pixels, {}, objective.encoder_maps(content.latents, objective.terms))
    return tuple(
        replace(whole, features=objective.features(crop.of(content.pixels), objective.terms), crop=crop)
        for crop in crops
    )


def statistics_of_mix(
    style: GuidedMix, side: int, trunk: VGGTrunk, context: RunContext[Backbone]
) -> StyleStatistics | None:
    """The weighted statistics of a mix by the features of ``trunk``; None for a style in words."""
    found = [
        (statistics_of(part, part.pixels(side, context.device), trunk, context), share)
        for part, share in style.pictured
    ]
    kept = [(statistics, share) for statistics, share in found if statistics is not None]
    return mixed_statistics(rescaled(kept)) if kept else None


def clip_targets_of_mix(
    style: GuidedMix, side: int, encoder: AnyImageEncoder, context: RunContext[Backbone]
) -> ClipTargets:
    """The weighted CLIP targets of a mix. Raises SettingError for a part in words without CLIP."""
    return mixed_clip_targets(
        [
            (clip_targets_of(part, part.pixels(side, context.device), encoder, context), share)
            for part, share in style.parts
        ]
    )


def statistics_of(
    style: GuidedStyle, picture: Tensor | None, trunk: VGGTrunk, context: RunContext[Backbone]
) -> StyleStatistics | None:
    """The style's statistics by the features of ``trunk``; None for a style in words.

    Those of the fit, unless another VGG was at hand then: in that case of ``picture`` (1, 3, h, w), and cached.
    """
    if picture is None or style.features == trunk.source:
        return style.statistics
    key = ("statistics", *_cache_key(style, picture, context), trunk.source)
    return context.cache.get_or_compute(key, partial(style_statistics, picture, trunk))


def clip_targets_of(
    style: GuidedStyle,
    picture: Tensor | None,
    encoder: AnyImageEncoder,
    context: RunContext[Backbone],
    targets_of_text: Callable[[Tensor, Tensor], ClipTargets] = clip_targets_of_text,
) -> ClipTargets:
    """The CLIP losses' targets from a style's ``picture`` (1, 3, h, w) or its text, cached.

    ``targets_of_text`` makes them from the embeddings (1, E) of the text and of "Photo". Raises SettingError for a
    style in words without CLIP.
    """

    def compute() -> ClipTargets:
        if picture is not None:
            return clip_targets_of_picture(picture, encoder, torch.Generator().manual_seed(0))
        return targets_of_text(*_text_embeddings(style, encoder, context.backbone.name))

    key = ("clip targets", *_cache_key(style, picture, context), encoder.source, targets_of_text.__qualname__)
    return context.cache.get_or_compute(key, compute)


def _text_embeddings(style: GuidedStyle, encoder: AnyImageEncoder, model: str) -> tuple[Tensor, Tensor]:
    """The embeddings (1, E) of the style's text and of the plain text."""
    if not style.text:
        raise SettingError(f"The style '{style.style.name}' was kept without its picture: fit it again.")
    if not isinstance(encoder, ClipImageEncoder):
        raise SettingError(
            f"The CLIP losses cannot compare a picture with the words '{style.text}', because {without_clip(model)}: "
            "give a style picture, or on a model with prompts leave these losses out, so that the words act through "
            f"the prompt (--set prompt='a painting in the style of {PLACEHOLDER}')."
        )
    wanted, plain = torch.split(encoder.encode_prompt([style.text, PLAIN_TEXT]), 1)
    return wanted, plain


def _cache_key(style: GuidedStyle, picture: Tensor | None, context: RunContext[Backbone]) -> tuple[object, ...]:
    shape = tuple(picture.shape) if picture is not None else ()
    return (style.style.identity, style.text, shape, str(context.device))
