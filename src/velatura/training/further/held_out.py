"""The loss on held-out pictures that tells whether a training still gains."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch

from velatura.errors import PictureError
from velatura.models.noise_schedule import add_noise_each
from velatura.training.batches import centre_crops
from velatura.training.captions import PLACEHOLDER
from velatura.training.conditioning import ConditioningSampler
from velatura.training.denoiser_optimisation import BANDS, DenoiserOptimisation
from velatura.training.shards import Example

CAPTION = f"a painting in the style of {PLACEHOLDER}"
PART = 4  # pictures at a time


class HeldOut:
    """Held-out ``examples`` under their own words, and the ``best`` loss that the averaged model has had on them.

    Raises PictureError where there are none.
    """

    def __init__(
        self,
        training: DenoiserOptimisation,
        examples: Sequence[Example],
        sampler: ConditioningSampler,
        best: float = inf,
    ) -> None:
        if not examples:
            raise PictureError("The shards have no held-out pictures: pack them with --heldout, a folder of pictures.")
        self.training = training
        self.latents = torch.cat([training.encoded(part) for part in torch.split(centre_crops(examples), PART)])
        encoder = training.model.image_encoder
        with torch.no_grad():
            embeddings = encoder.standardise(torch.stack([one.embedding for one in examples]))
        self.conditions = sampler.fixed(CAPTION, embeddings.to(self.latents.device))
        self.best, self.without_gain = best, 0

    @torch.no_grad()
    def measure(self) -> list[float]:
        """Mean squared error of the noise in ten bands of timesteps, for fixed noise; ``without_gain`` counts how often
        in a row their mean has not fallen.
        """
        generator, losses = torch.Generator().manual_seed(0), []
        abars, conditions = self.training.abars, self.conditions
        width = len(abars) // BANDS
        with self.training.averaged() as model, self.training.accelerator.autocast():
            for timestep in range(width // 2, width * BANDS, width):
                abar = float(abars[timestep])
                noise = torch.randn(self.latents.shape, generator=generator).to(self.latents)
                noisy = add_noise_each(self.latents, noise, [abar] * len(noise))
                timesteps = torch.full((len(noise),), timestep, device=noise.device)
                v = model(noisy, timesteps, conditions.ids, conditions.at, conditions.embeddings).float()
                predicted = abar**0.5 * v + (1 - abar) ** 0.5 * noisy
                losses.append(round((predicted - noise).square().mean().item(), 5))
        mean = sum(losses) / len(losses)
        self.without_gain = 0 if mean < self.best else self.without_gain + 1
        self.best = min(self.best, mean)
        return losses
