"""The loss on held-out pictures that tells whether a training still gains."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor

from velatura.models.noise_schedule import split_v
from velatura.training.band_losses import loss_by_band
from velatura.training.batches import centre_crops
from velatura.training.captions import WORD_CAPTION
from velatura.training.conditioning import ConditioningSampler
from velatura.training.denoiser import averaged_weights
from velatura.training.denoiser_optimisation import DenoiserOptimisation
from velatura.training.shards import Example

PART = 4  # pictures at a time


class HeldOut:
    """Held-out ``examples`` under their own words, the ``best`` loss that the averaged model has had on them, and how
    often in a row it has not fallen since, ``without_gain``.
    """

    def __init__(
        self,
        training: DenoiserOptimisation,
        examples: Sequence[Example],
        sampler: ConditioningSampler,
    ) -> None:
        self.training = training
        self.latents = torch.cat([training.encoded(part) for part in torch.split(centre_crops(examples), PART)])
        encoder = training.model.image_encoder
        with torch.no_grad():
            embeddings = encoder.standardise(torch.stack([one.embedding for one in examples]))
        self.conditions = sampler.fixed(WORD_CAPTION, embeddings.to(self.latents.device))
        self.best, self.without_gain = inf, 0

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes."""
        return {"best": self.best, "without_gain": self.without_gain}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint that holds a ``state``; earlier ones have no ``without_gain``."""
        self.best, self.without_gain = float(state["best"]), int(state.get("without_gain", 0))

    @torch.no_grad()
    def measure(self) -> list[float]:
        """Mean squared error of the noise in ten bands of timesteps, for fixed noise; ``without_gain`` counts how often
        in a row their mean has not fallen.
        """
        model, conditions = self.training.model, self.conditions
        abars = self.training.abars.tolist()

        def predict(noisy: Tensor, timestep: int) -> Tensor:
            timesteps = torch.full((len(noisy),), timestep, device=noisy.device)
            v = model(noisy, timesteps, conditions.ids, conditions.at, conditions.embeddings).float()
            return split_v(noisy, v, self.training.abars[timesteps])[1]

        with averaged_weights(model, self.training.average), self.training.accelerator.autocast():
            losses = loss_by_band(predict, self.latents, abars)
        mean = sum(losses) / len(losses)
        self.without_gain = 0 if mean < self.best else self.without_gain + 1
        self.best = min(self.best, mean)
        return losses
