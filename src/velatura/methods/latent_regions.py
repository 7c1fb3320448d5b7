"""Regions on the latent grid: which of them act in each step of a run, and their share of each cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from velatura.regions import Placement
from velatura.span import progress_of


@dataclass(frozen=True, eq=False)
class StepRegions:
    """The indices of the regions that act in a step, and all regions' ``shares`` (K, 1, h, w) of the latent cells."""

    acting: Sequence[int]
    shares: Tensor

    @property
    def covered(self) -> Tensor:
        """What the regions cover together, (1, 1, h, w) in 0..1."""
        return self.shares.sum(0, keepdim=True)

    def compose(self, latents: Tensor, noise_of: Callable[[int], Tensor]) -> Tensor:
        """The mean of what ``noise_of`` predicts for each acting region in ``latents`` (1, C, h, w), weighted by the
        shares (Liu et al. 2022); 0 in cells without a region.
        """
        total = torch.zeros_like(latents)
        for index in self.acting:
            total = total + self.shares[index] * noise_of(index)
        return total / self.covered.clamp(min=1e-6)

    def paste(self, latents: Tensor, content: Tensor) -> Tensor:
        """``latents`` over those of the ``content``, by what the regions cover."""
        covered = self.covered
        return covered * latents + (1 - covered) * content


def regions_of_steps(placement: Placement, latents: Tensor, timesteps: Sequence[int]) -> dict[int, StepRegions]:
    """The regions at each of a run's ``timesteps``, the noisiest first, on the grid of ``latents`` (1, C, h, w)."""
    by_acting: dict[tuple[int, ...], StepRegions] = {}
    regions: dict[int, StepRegions] = {}
    for step, timestep in enumerate(timesteps):
        acting = tuple(placement.acting(progress_of(step, len(timesteps))))
        if acting not in by_acting:
            shares = placement.shares((latents.shape[2], latents.shape[3]), acting)
            by_acting[acting] = StepRegions(acting, shares.to(latents))
        regions[timestep] = by_acting[acting]
    return regions
