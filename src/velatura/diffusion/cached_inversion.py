"""Inversions that are kept: another style or another strength starts from the same latents again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from velatura.cache import Cache, tensor_digest
from velatura.diffusion.guidance import without_adapters
from velatura.diffusion.inversion import Predict, Trajectory, invert
from velatura.diffusion.rf_solver import rf_invert
from velatura.models.backbone import Backbone, Conditioning
from velatura.models.noise_schedule import Levels, NoiseSchedule
from velatura.progress import Progress

DDIM, RF_SOLVER = INVERSIONS = ("ddim", "rf-solver")


@dataclass(frozen=True)
class InversionSettings:
    """The first ``run`` of ``steps`` steps of a ``solver``, DDIM's each with ``corrections`` fixed-point iterations."""

    steps: int
    run: int
    corrections: int = 0
    solver: str = DDIM

    def inverted(
        self, predict: Predict, latents: Tensor, levels: Levels, schedule: NoiseSchedule, progress: Progress
    ) -> Trajectory:
        """The inversion of ``latents`` over ``levels``."""
        if self.solver == RF_SOLVER:
            return rf_invert(predict, latents, levels, schedule, progress)
        return invert(predict, latents, levels, self.corrections, progress)


@torch.no_grad()
def cached_inversion(
    backbone: Backbone,
    latents: Tensor,
    conditioning: Conditioning,
    settings: InversionSettings,
    cache: Cache,
    progress: Progress,
) -> Tensor:
    """The noisiest latents of the inversion of clean latents (B, C, h, w).

    The latents of every level are kept for each picture; a longer run of the same inversion goes on from the last one.
    With ``corrections``, whose first guesses come from the steps before, a longer run starts again.
    """
    run, corrections = settings.run, settings.corrections
    levels = backbone.schedule.ddim_levels(settings.steps).up_to(run)
    states = conditioning.expanded(len(latents)).states
    keys = [
        ("inversion", backbone.fingerprint, settings.solver, settings.steps, corrections, tensor_digest(one), text)
        for one, text in zip(latents, map(tensor_digest, states), strict=True)
    ]
    paths = [cache.get(key, (one,)) for key, one in zip(keys, latents, strict=True)]
    known = min(run, *(len(path) - 1 for path in paths))
    if corrections and known < run:
        known = 0
    start = torch.stack([path[known] for path in paths])
    predict, beyond = without_adapters(backbone, conditioning), levels.beyond(known)
    further = settings.inverted(predict, start, beyond, backbone.schedule, progress)
    for key, path, *rest in zip(keys, paths, *further.latents[1:], strict=True):
        if len(path) - 1 < run:
            cache.put(key, (*path[: known + 1], *rest))
    return further.noisiest
