"""Inversions that are kept: another style, or another strength, asks for the same way again."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import invert
from velatura.diffusion.schedules import ddim_levels
from velatura.memory import Memory, tensor_digest
from velatura.models.backbone import Backbone, Condition
from velatura.progress import Progress


@torch.no_grad()
def remembered_inversion(
    backbone: Backbone,
    latents: Tensor,
    condition: Condition,
    steps: int,
    run: int,
    corrections: int,
    memory: Memory,
    progress: Progress,
) -> Tensor:
    """Where DDIM inversion leads clean latents (B, C, h, w) in the first ``run`` of ``steps`` steps.

    Each picture's way is kept as far as it was walked and gone on from there. With ``corrections``, which begin from
    the steps before, a shorter way is walked again instead.
    """
    levels, says = ddim_levels(backbone.alphas_cumprod, steps).up_to(run), condition.expanded(len(latents)).states
    keys = [
        ("inversion", backbone.fingerprint, steps, corrections, tensor_digest(one), tensor_digest(said))
        for one, said in zip(latents, says, strict=True)
    ]
    paths = [memory.recall(key, partial(list[Tensor], [one])) for key, one in zip(keys, latents, strict=True)]
    known = min(run, *(len(path) - 1 for path in paths))
    if corrections and known < run:
        known = 0
    begun = torch.stack([path[known] for path in paths])
    went = invert(conditional(backbone, condition), begun, levels.beyond(known), corrections, progress)
    for path, *rest in zip(paths, *went.latents[1:], strict=True):
        path[known + 1 : run + 1] = rest
    return went.start
