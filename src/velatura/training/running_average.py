"""A running average of weights during training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def update_average(average: Iterable[Tensor], weights: Iterable[Tensor], steps: int, decay: float) -> None:
    """Move the ``average`` towards ``weights``, in place, after so many ``steps``: 1 - ``decay`` of the way, and more
    in the first steps, so that the start is soon forgotten.
    """
    kept = min(decay, (1 + steps) / (10 + steps))
    for mean, value in zip(average, weights, strict=True):
        mean.lerp_(value, 1 - kept)
