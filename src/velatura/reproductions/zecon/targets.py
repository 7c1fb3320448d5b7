"""ZeCon's losses for one content and style: CLIP ViT-B/16, VGG19, and un-normalised text directions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from velatura.losses import CLIP_LOSSES, LossInput, Objective, Targets, make_objective
from velatura.losses.clip_targets import ClipTarget, ClipTargets
from velatura.methods.context import RunContext
from velatura.methods.guided.fitting import GuidedStyle
from velatura.methods.guided.objectives import clip_targets_of
from velatura.models.adm.backbone import PixelBackbone
from velatura.models.encoders.choice import image_encoder_for
from velatura.models.features.vgg import zecon_trunk
from velatura.reproductions.zecon.losses import Views, published_losses
from velatura.style import Style

CLIP = "clip-b16"


def zecon_objective(
    style: Style,
    pixels: Tensor,
    weights: Mapping[str, float],
    views: Views,
    generator: torch.Generator,
    context: RunContext[PixelBackbone],
) -> tuple[Objective, str]:
    """The weighted losses of a style for a content (1, 3, H, W), and the name of their image encoder ("" for none).

    All they draw in a run comes from ``generator``. Raises SettingError for a style in words without CLIP.
    """
    backbone, given = context.backbone, GuidedStyle.of(style, context.device)
    picture = given.pixels(min(pixels.shape[2:]), context.device)
    uses_clip = any(weights.get(name) for name in CLIP_LOSSES)
    encoder = image_encoder_for(backbone.name, context.device, CLIP) if uses_clip else None
    clip_targets = None
    if encoder is not None:
        clip_targets = clip_targets_of(given, picture, encoder, context, unnormalised_clip_targets_of_text)
    targets = Targets(
        LossInput(pixels),
        None,
        (),  # of the style's pictures its losses take no more than the CLIP targets
        zecon_trunk(context.device),
        encoder,
        clip_targets,
        generator,
        context.cache,
        style.identity,
    )
    objective = make_objective(weights, targets, {}, backbone.encoder_maps, published_losses(views))
    return objective, encoder.source if encoder else ""


def unnormalised_clip_targets_of_text(style: Tensor, plain: Tensor) -> ClipTargets:
    """The target of text embeddings (1, E) of any length: the direction is their difference, without normalising."""
    target = ClipTarget(style, style - plain)
    return ClipTargets(target, target)
