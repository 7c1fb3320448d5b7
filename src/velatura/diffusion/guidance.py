"""Classifier-free guidance (Ho & Salimans 2022) as predictors of noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from velatura.diffusion.inversion import Predict
from velatura.models.backbone import Backbone, Conditioning, Prediction


def conditional(backbone: Backbone, conditioning: Conditioning) -> Predict:
    """The backbone's prediction under one conditioning."""

    def predict(latents: Tensor, timestep: int) -> Prediction:
        return backbone.predict(latents, timestep, conditioning)

    return predict


def guided_noise(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """eps_u + scale * (eps_c - eps_u) (Ho & Salimans 2022, eq. 6)."""
    return unconditional + scale * (conditional - unconditional)


def classifier_free(
    backbone: Backbone, conditioning: Conditioning, unconditional: Conditioning, scale: float
) -> Predict:
    """Classifier-free guidance in one batched call.

    With a scale of 1, or two equal conditionings, the conditional prediction alone is computed.
    """
    if scale == 1 or conditioning.equals(unconditional):
        return conditional(backbone, conditioning)

    def predict(latents: Tensor, timestep: int) -> Prediction:
        count = len(latents)
        both = Conditioning.concatenate([unconditional.expanded(count), conditioning.expanded(count)])
        without, under = backbone.predict(torch.cat([latents, latents]), timestep, both).noise.chunk(2)
        return Prediction(guided_noise(without, under, scale))

    return predict


def composed(
    backbone: Backbone,
    conditionings: Sequence[Conditioning],
    shares: Tensor,
    unconditional: Conditioning,
    scale: float,
) -> Predict:
    """Guidance by several conditionings of one picture, each in its share (K, 1, h, w) of it (Liu et al. 2022).

    Where the shares sum to less than 1 there is less guidance. Where all conditionings equal the unconditional one,
    one prediction is computed.
    """
    if all(conditioning.equals(unconditional) for conditioning in conditionings):
        return conditional(backbone, unconditional)

    def predict(latents: Tensor, timestep: int) -> Prediction:
        rows = Conditioning.concatenate([unconditional, *conditionings])
        noises = backbone.predict(latents.expand(len(rows), -1, -1, -1), timestep, rows).noise
        difference: Tensor = (shares * (noises[1:] - noises[:1])).sum(0, keepdim=True)
        return Prediction(noises[:1] + scale * difference)

    return predict
