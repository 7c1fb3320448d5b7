"""Classifier-free guidance: two conditions, one predictor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from velatura.diffusion.inversion import Predict
from velatura.models.backbone import Backbone, Condition


def conditional(backbone: Backbone, condition: Condition) -> Predict:
    """The backbone's noise prediction under one condition."""

    def predict(latents: Tensor, timestep: int) -> Tensor:
        return backbone.predict(latents, timestep, condition)

    return predict


def classifier_free(backbone: Backbone, condition: Condition, without: Condition, scale: float) -> Predict:
    """eps(without) + scale * (eps(condition) - eps(without)) (Ho & Salimans 2022), in one batched call.

    A scale of 1, or two conditions that say the same, need the conditional prediction only.
    """
    if scale == 1 or condition.says(without):
        return conditional(backbone, condition)

    def predict(latents: Tensor, timestep: int) -> Tensor:
        count = len(latents)
        both = Condition.joined([without.expanded(count), condition.expanded(count)])
        unguided, guided = backbone.predict(torch.cat([latents, latents]), timestep, both).chunk(2)
        return unguided + scale * (guided - unguided)

    return predict


def composed(
    backbone: Backbone, conditions: Sequence[Condition], shares: Tensor, without: Condition, scale: float
) -> Predict:
    """Classifier-free guidance by several conditions, each by its share (K, 1, h, w) of the picture (Liu et al. 2022).

    Where the shares sum to less than 1, so much is led less. Where all say what ``without`` says, one prediction is
    enough.
    """
    if all(condition.says(without) for condition in conditions):
        return conditional(backbone, without)

    def predict(latents: Tensor, timestep: int) -> Tensor:
        rows = Condition.joined([without, *conditions])
        noises = backbone.predict(latents.expand(len(rows), -1, -1, -1), timestep, rows)
        led: Tensor = (shares * (noises[1:] - noises[:1])).sum(0, keepdim=True)
        return noises[:1] + scale * led

    return predict
