"""A noise prediction for latents of any size, blended from those of overlapping tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from velatura.diffusion.inversion import Predict
from velatura.diffusion.shared_norms import SharedNorms
from velatura.methods.tiling.grid import Box, Grid
from velatura.models.backbone import Prediction

REFERENCE_TILES = 6  # spread over the picture: their statistics hold for all tiles
LEAST = 1e-3  # share of a cell that a region has; less is rounding
TINY = 1e-6


@dataclass(frozen=True, eq=False)
class TiledPrediction:
    """Predicts noise tile by tile and blends it (MultiDiffusion, Bar-Tal et al. 2023, arXiv 2302.08113), so that all
    tiles take each step together.

    ``predicts`` are the regions' own, for tiles (B, C, h, w), ``shares`` (K, 1, h, w) of the latents what each region
    has of them; what none has follows the regions around. Statistics of group normalisations are those of a few tiles
    together (URST) where there are ``norms``. ``done`` is called for each tile. Tiles that no region reaches are left
    out; their noise is 0.
    """

    predicts: Sequence[Predict]
    shares: Tensor
    grid: Grid
    norms: SharedNorms | None
    done: Callable[[], object]

    def of(self, predict: Predict) -> TiledPrediction:
        """The same with one ``predict`` for all regions."""
        return TiledPrediction([predict], self.shares.sum(0, keepdim=True), self.grid, self.norms, self.done)

    def __call__(self, latents: Tensor, timestep: int) -> Prediction:
        """The noise of all latents (1, C, h, w)."""
        noise, weights = torch.zeros_like(latents), torch.zeros_like(latents[:, :1])
        rest = (1 - self.shares.sum(0, keepdim=True)).clamp(min=0)
        for number, predict in enumerate(self.predicts):
            share = (self.shares[number] + rest).to(latents)
            for box, window, found in self._found(number, predict, latents, timestep):
                weight = window.to(latents) * box.of(share)
                box.of(noise).add_(weight * found)
                box.of(weights).add_(weight)
                self.done()
        return Prediction(noise / weights.clamp(min=TINY))

    def _found(
        self, region: int, predict: Predict, latents: Tensor, timestep: int
    ) -> Iterator[tuple[Box, Tensor, Tensor]]:
        """The tiles of a region with their windows and the noise in them; first those of the reference."""
        tiles = self.tiles(region)
        if self.norms is not None and tiles:
            reference = [tiles.pop(index) for index in reversed(_spread(len(tiles)))]
            self.norms.reference(len(reference))
            noises = predict(torch.cat([box.of(latents) for box, _ in reference]), timestep).noise
            for (box, window), noise in zip(reference, torch.split(noises, 1), strict=True):
                yield box, window, noise
        for box, window in tiles:
            if self.norms is not None:
                self.norms.follow(1)
            yield box, window, predict(box.of(latents), timestep).noise

    def tiles(self, region: int) -> list[tuple[Box, Tensor]]:
        """The tiles that a region reaches, with their windows."""
        tiles = zip(self.grid.boxes(), self.grid.windows(), strict=True)
        return [(box, window) for box, window in tiles if bool((box.of(self.shares[region]) > LEAST).any())]

    def passes(self) -> int:
        """How many tiles one prediction is made of."""
        return sum(len(self.tiles(region)) for region in range(len(self.predicts)))


def _spread(count: int) -> list[int]:
    """Up to ``REFERENCE_TILES`` indices spread evenly over ``count``."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(REFERENCE_TILES, count))})
