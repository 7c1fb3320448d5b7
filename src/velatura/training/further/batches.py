"""Training batches cut from kept latents: weighted draws, aligned crops, flips, two scales."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from velatura.training.batches import KIND_SHARES
from velatura.training.further.kept_latents import FACTOR, KeptLatents, Scales
from velatura.training.further.recipe import FurtherRecipe
from velatura.training.shards import Example

SMALL = 128  # px: the side of crops that are of both scales; larger ones are of pictures at their own scale
LEAST_SPREAD = 0.05  # added to a latent channel's spread, for channels that hardly vary
MOST_STRETCH = 2.0  # of a channel's spread


class LatentBatch(NamedTuple):
    """Crops of ``latents`` (B, C, h, w), what is ``shown`` in their place where there is much noise, and the numbers of
    their pictures, ``indices``.
    """

    latents: Tensor
    shown: Tensor
    indices: list[int]


class LatentBatches:
    """Random crops of the kept latents of ``examples``; all that is random comes from ``chance``.

    ``colours`` are the latents' channels that hold the mean colours of their blocks.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        kept: KeptLatents,
        colours: Sequence[int],
        recipe: FurtherRecipe,
        chance: random.Random,
    ) -> None:
        self.kept, self.colours, self.recipe, self.chance = kept, list(colours), recipe, chance
        self.beneath = [one.beneath for one in examples]
        by_kind = {
            kind: [number for number, one in enumerate(examples) if one.description.kind == kind]
            for kind in KIND_SHARES
        }
        self.by_kind = {kind: numbers for kind, numbers in by_kind.items() if numbers}

    def draw(self, count: int, side: int) -> LatentBatch:
        """Crops of ``count`` pictures, their kinds drawn by their shares; ``side`` is 128 or 256 px."""
        shares = [KIND_SHARES[kind] for kind in self.by_kind]
        kinds = self.chance.choices(list(self.by_kind), shares, k=count)
        indices = [self.chance.choice(self.by_kind[kind]) for kind in kinds]
        pairs = [self._crops(number, side) for number in indices]
        latents = torch.stack([own for own, _ in pairs])
        recoloured = self._recoloured(latents)
        shown = [plain if content is None else content for plain, (_, content) in zip(recoloured, pairs, strict=True)]
        return LatentBatch(latents, torch.stack(shown), indices)

    def _crops(self, number: int, side: int) -> tuple[Tensor, Tensor | None]:
        """The same crop of a picture's latents and of the content that it was made of, where there is one."""
        scale = self.chance.choice(Scales._fields) if side == SMALL else "full"
        flip, own = self.chance.randrange(2), getattr(self.kept.own[number], scale)
        length = side // FACTOR
        top, left = (self.chance.randint(0, size - length) for size in own.shape[2:])
        window = (flip, slice(None), slice(top, top + length), slice(left, left + length))
        content = self._content(number)
        return own[window].float(), None if content is None else getattr(content, scale)[window].float()

    def _content(self, number: int) -> Scales | None:
        beneath = self.beneath[number]
        if beneath is not None:
            return self.kept.own[beneath]
        if self.chance.random() < self.recipe.destylised_share:
            return self.kept.destylised.get(number)
        return None

    def _recoloured(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) whose mean colours have the mean and, within bounds, the spread of the next one's."""
        own = latents[:, self.colours]
        mean, spread = own.mean((2, 3), keepdim=True), own.std((2, 3), keepdim=True) + LEAST_SPREAD
        wanted = torch.minimum(spread.roll(-1, 0), MOST_STRETCH * spread)
        moved = latents.clone()
        moved[:, self.colours] = (own - mean) / spread * wanted + mean.roll(-1, 0)
        return moved
