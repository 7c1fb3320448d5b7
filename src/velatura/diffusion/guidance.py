"""Classifier-free guidance (Ho & Salimans 2022) as predictors of noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from velatura.diffusion.guidance_scaling import GuidanceScaling, scaled_guidance
from velatura.diffusion.inversion import Predict
from velatura.models.backbone import Adaptable, Backbone, Conditioning, Prediction

UNCHANGED = GuidanceScaling()


def conditional(backbone: Backbone, conditioning: Conditioning) -> Predict:
    """The backbone's prediction under one conditioning."""

    def predict(latents: Tensor, timestep: int) -> Prediction:
        return backbone.predict(latents, timestep, conditioning)

    return predict


def without_adapters(backbone: Backbone, conditioning: Conditioning) -> Predict:
    """``conditional``, without the adapters that join a run's denoising: for inversions, which would cancel them."""
    predict = conditional(backbone, conditioning)
    if not isinstance(backbone, Adaptable):
        return predict

    def predict_alone(latents: Tensor, timestep: int) -> Prediction:
        with backbone.alone():
            return predict(latents, timestep)

    return predict_alone


def guided_noise(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """eps_u + scale * (eps_c - eps_u) (Ho & Salimans 2022, eq. 6)."""
    return unconditional + scale * (conditional - unconditional)


def classifier_free(
    backbone: Backbone,
    conditioning: Conditioning,
    unconditional: Conditioning,
    scale: float,
    scaling: GuidanceScaling = UNCHANGED,
) -> Predict:
    """Classifier-free guidance in one batched call; a scale over 1 is changed by ``scaling``.

    With a scale of 1, or two equal conditionings, the conditional prediction alone is computed. Raises SettingError for
    a ``scaling`` of another number of channels than the model's.
    """
    alone = conditional(backbone, conditioning)
    if scale == 1 or conditioning.equals(unconditional):
        return alone
    scaling = _scaling_of(backbone, scale, scaling)

    def predict(latents: Tensor, timestep: int) -> Prediction:
        if not _acts(backbone, timestep, scaling):
            return alone(latents, timestep)
        count = len(latents)
        both = Conditioning.concatenate([unconditional.expanded(count), conditioning.expanded(count)])
        without, under = backbone.predict(torch.cat([latents, latents]), timestep, both).noise.chunk(2)
        if scaling == UNCHANGED:
            return Prediction(guided_noise(without, under, scale))
        abar = float(backbone.schedule.alphas_cumprod[timestep])
        return Prediction(scaled_guidance(latents, (under, without), abar, scale, scaling))

    return predict


def composed(
    backbone: Backbone,
    conditionings: Sequence[Conditioning],
    shares: Tensor,
    unconditional: Conditioning,
    scale: float,
    scaling: GuidanceScaling = UNCHANGED,
) -> Predict:
    """Guidance by several conditionings of one picture, each in its share (K, 1, h, w) of it (Liu et al. 2022); a scale
    over 1 is changed by ``scaling``, for each of them.

    Where the shares sum to less than 1 there is less guidance. Where all conditionings equal the unconditional one,
    one prediction is computed. Raises SettingError as ``classifier_free`` does.
    """
    if all(conditioning.equals(unconditional) for conditioning in conditionings):
        return conditional(backbone, unconditional)
    scaling = _scaling_of(backbone, scale, scaling)

    def predict(latents: Tensor, timestep: int) -> Prediction:
        rows = Conditioning.concatenate([unconditional, *conditionings])
        noises = backbone.predict(latents.expand(len(rows), -1, -1, -1), timestep, rows).noise
        without, under = noises[:1], noises[1:]
        here = scale if _acts(backbone, timestep, scaling) else 1.0
        if scaling == UNCHANGED or here == 1:
            difference: Tensor = (shares * (under - without)).sum(0, keepdim=True)
            return Prediction(without + here * difference)
        abar = float(backbone.schedule.alphas_cumprod[timestep])
        guided = scaled_guidance(latents, (under, without), abar, here, scaling)
        return Prediction(without + (shares * (guided - without)).sum(0, keepdim=True))

    return predict


def _scaling_of(backbone: Backbone, scale: float, scaling: GuidanceScaling) -> GuidanceScaling:
    """The ``scaling`` where there is something to extrapolate, checked for the model."""
    if scale <= 1 or scaling == UNCHANGED:
        return UNCHANGED
    scaling.check_channels(backbone.latent_channels)
    return scaling


def _acts(backbone: Backbone, timestep: int, scaling: GuidanceScaling) -> bool:
    return scaling == UNCHANGED or scaling.acts_at(timestep / len(backbone.schedule))
