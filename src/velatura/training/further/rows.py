"""The rows of a step: crops of latents under captions and words, at timesteps where the methods work."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from velatura.models.house.image_encoder import HouseImageEncoder
from velatura.training.conditioning import ConditioningSampler
from velatura.training.denoiser_optimisation import DenoiserRows
from velatura.training.further.batches import LatentBatches
from velatura.training.further.kept_latents import KeptLatents
from velatura.training.further.recipe import FurtherRecipe
from velatura.training.shards import Example

COLOURS = (0, 4, 6)  # house's latent channels that hold the mean colours of their blocks


class FurtherRows:
    """Draws the rows of each step; all that is random but timesteps comes from ``chance``."""

    def __init__(
        self,
        examples: Sequence[Example],
        kept: KeptLatents,
        encoder: HouseImageEncoder,
        tokenizer: CLIPTokenizer,
        recipe: FurtherRecipe,
        chance: random.Random,
    ) -> None:
        self.examples, self.recipe, self.chance = examples, recipe, chance
        self.batches = LatentBatches(examples, kept, COLOURS, recipe, chance)
        self.sampler = ConditioningSampler(recipe.denoiser, tokenizer, chance)
        self.embeddings = _standardised(encoder, dict(enumerate(one.embedding for one in examples)))
        self.crop_embeddings = _standardised(encoder, kept.crop_embeddings)

    def draw(self, progress: float, timesteps: int, device: torch.device) -> DenoiserRows:
        """The rows of a step at a share (0..1) of the time, of a schedule of so many ``timesteps``."""
        batch = self.batches.draw(*self.recipe.rows_at(progress))
        embeddings = torch.stack([self._embedding(index) for index in batch.indices]).to(device)
        conditions = self.sampler.draw([self.examples[index].description for index in batch.indices], embeddings)
        latents = batch.latents.to(device)
        shown = torch.where(conditions.recoloured[:, None, None, None], batch.shown.to(device), latents)
        return DenoiserRows(latents, shown, self._timesteps(len(latents), timesteps).to(device), conditions)

    def _embedding(self, index: int) -> Tensor:
        """A picture's embedding, or that of a crop of it."""
        cropped = index in self.crop_embeddings and self.chance.random() < self.recipe.other_crop_share
        return self.crop_embeddings[index] if cropped else self.embeddings[index]

    def _timesteps(self, count: int, most: int) -> Tensor:
        below = min(self.recipe.low_below, most)
        low, high = torch.randint(0, below, (count,)), torch.randint(min(below, most - 1), most, (count,))
        return torch.where(torch.rand(count) < self.recipe.low_share, low, high)


@torch.no_grad()
def _standardised(encoder: HouseImageEncoder, embeddings: Mapping[int, Tensor]) -> dict[int, Tensor]:
    return {number: encoder.standardise(raw[None].float())[0].cpu() for number, raw in embeddings.items()}
