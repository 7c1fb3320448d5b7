"""DDIM over a few levels, evenly spaced from where a run starts down to a clean picture."""

from __future__ import annotations

from torch import Tensor

from velatura.models.backbone import Prediction
from velatura.models.noise_schedule import NoiseSchedule, ddim_step


def even_timesteps(first: int, steps: int) -> tuple[int, ...]:
    """Up to ``steps`` falling timesteps, evenly spaced from ``first`` to 0, without 0; none where ``first`` is 0.

    >>> even_timesteps(800, 4)
    (800, 600, 400, 200)
    """
    return tuple(sorted({round(first * (1 - step / steps)) for step in range(steps)} - {0}, reverse=True))


class EvenLevelsSampler:
    """A ``Sampler`` of ``steps`` steps of a schedule from the timestep ``first``; the last ends at the predicted x0."""

    def __init__(self, schedule: NoiseSchedule, first: int, steps: int) -> None:
        self.timesteps = even_timesteps(first, steps)
        self.abars = tuple(float(schedule.alphas_cumprod[timestep]) for timestep in self.timesteps)

    def start(self, latents: Tensor) -> Tensor:
        """The latents themselves: they are variance-preserving."""
        return latents

    def scale(self, x: Tensor, index: int) -> Tensor:
        """The latents themselves."""
        return x

    def step(self, prediction: Prediction, index: int, latents: Tensor) -> Tensor:
        """The DDIM step to the next level, or to x0 after the last (Song et al. 2021, eq. 12 with sigma = 0)."""
        return ddim_step(latents, prediction.noise, self.abars[index], (*self.abars, 1.0)[index + 1])
