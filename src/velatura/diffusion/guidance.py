"""Classifier-free guidance: two conditions, one predictor."""

from __future__ import annotations

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

    A scale of 1 needs the conditional prediction only.
    """
    if scale == 1:
        return conditional(backbone, condition)

    def predict(latents: Tensor, timestep: int) -> Tensor:
        count = len(latents)
        both = Condition.joined([without.expanded(count), condition.expanded(count)])
        unguided, guided = backbone.predict(torch.cat([latents, latents]), timestep, both).chunk(2)
        return unguided + scale * (guided - unguided)

    return predict
