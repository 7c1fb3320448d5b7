"""Regions on the latent grid: which of them act in each step of a run, and their share of each cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from velatura.regions import Placement
from velatura.span import progress_of

LEAST = 1e-3  # share of a cell; less is rounding


@dataclass(frozen=True, eq=False)
class StepRegions:
    """The indices of the regions that act in a step, and all regions' ``shares`` (K, 1, h, w) of the latent cells.

    ``reached`` (1, 1, h, w) is 1 in the cells that any region reaches in any step. Of these the base model has the
    share ``base`` that no acting region takes (None: none): so a span that ends keeps what it made.
    """

    acting: tuple[int, ...]
    shares: Tensor
    reached: Tensor
    base: Tensor | None = None

    def compose(self, latents: Tensor, noise_of: Callable[[int], Tensor], base_noise: Callable[[], Tensor]) -> Tensor:
        """The mean of what ``noise_of`` predicts for each acting region in ``latents`` (1, C, h, w), and the base model
        where none acts, weighted by the shares (Liu et al. 2022); 0 in cells without a region.
        """
        total = torch.zeros_like(latents)
        for index in self.acting:
            total = total + self.shares[index] * noise_of(index)
        return total if self.base is None else total + self.base * base_noise()

    def paste(self, latents: Tensor, content: Tensor) -> Tensor:
        """``latents`` where a region reaches, those of the ``content`` elsewhere."""
        return torch.where(self.reached > 0, latents, content)


def regions_of_steps(placement: Placement, latents: Tensor, timesteps: Sequence[int]) -> dict[int, StepRegions]:
    """The regions at each of a run's ``timesteps``, the noisiest first, on the grid of ``latents`` (1, C, h, w)."""
    grid = (latents.shape[2], latents.shape[3])
    reached = placement.reached(grid)
    by_acting: dict[tuple[int, ...], StepRegions] = {}
    regions: dict[int, StepRegions] = {}
    for step, timestep in enumerate(timesteps):
        acting = tuple(placement.acting(progress_of(step, len(timesteps))))
        if acting not in by_acting:
            shares = placement.shares(grid, acting)
            rest = (reached - shares.sum(0, keepdim=True)).clamp(min=0)
            base = rest.to(latents) if bool((rest > LEAST).any()) else None
            by_acting[acting] = StepRegions(acting, shares.to(latents), reached.to(latents), base)
        regions[timestep] = by_acting[acting]
    return regions
