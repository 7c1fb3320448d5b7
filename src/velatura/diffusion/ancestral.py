"""Ancestral sampling with a learned variance on a respaced schedule (Nichol & Dhariwal 2021; Dhariwal & Nichol 2021).

Levels are counted by ``index`` in the respaced schedule: 0 is the cleanest. Numbers of the schedule are float64,
rounded to float32 where they meet a picture, as in the published code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from velatura.errors import SettingError

Array = NDArray[np.float64]

TIMESTEPS = 1000


def betas_of(schedule: str, timesteps: int = TIMESTEPS) -> Array:
    """The training betas: "linear" from 1e-4 to 0.02, or "cosine" with betas of at most 0.999."""
    if schedule == "linear":
        return np.linspace(1e-4, 0.02, timesteps) * (TIMESTEPS / timesteps)
    levels = [math.cos((i / timesteps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(timesteps + 1)]
    return np.array([min(1 - after / before, 0.999) for before, after in pairwise(levels)])


def respaced(spacing: str, timesteps: int = TIMESTEPS) -> tuple[int, ...]:
    """The training timesteps that a spacing visits, rising.

    "50" spreads 50 over all; "10,15,20" so many over each third; "ddim50" takes a whole stride.
    Raises SettingError for a spacing that cannot be.
    """
    if spacing.startswith("ddim") and spacing[4:].isdigit():
        for stride in range(1, timesteps):
            if len(range(0, timesteps, stride)) == int(spacing[4:]):
                return tuple(range(0, timesteps, stride))
        raise SettingError(f"There is no whole stride that takes {spacing[4:]} of {timesteps} steps.")
    parts = spacing.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise SettingError(f"The spacing '{spacing}' is not a number of steps, several with commas, or ddimN.")
    taken: list[int] = []
    first = 0
    for index, count in enumerate(int(part) for part in parts):
        size = timesteps // len(parts) + (index < timesteps % len(parts))
        if not 1 <= count <= size:
            raise SettingError(f"The spacing '{spacing}' asks for {count} of {size} steps.")
        # A running sum, not a product: with the rounding to even it decides what the published code visits.
        apart, place = (size - 1) / (count - 1) if count > 1 else 1.0, 0.0
        for _ in range(count):
            taken.append(first + round(place))
            place += apart
        first += size
    return tuple(sorted(set(taken)))


@dataclass(frozen=True)
class Prediction:
    """What a step knows of x_{t-1}: mean, log variance, and the x0 behind them; each (B, C, H, W)."""

    mean: Tensor
    log_variance: Tensor
    clean: Tensor


@dataclass(frozen=True)
class AncestralSchedule:
    """The respaced schedule: visited training ``timesteps``, rising, and the ``betas`` between them."""

    timesteps: tuple[int, ...]
    betas: Array

    @staticmethod
    def of(spacing: str, schedule: str = "linear") -> AncestralSchedule:
        """A training schedule respaced: beta'_i = 1 - abar_i / abar_{i-1} over the visited timesteps."""
        visited = respaced(spacing)
        kept = np.cumprod(1 - betas_of(schedule))[list(visited)]
        return AncestralSchedule(visited, 1 - kept / np.append(1.0, kept[:-1]))

    def __len__(self) -> int:
        return len(self.timesteps)

    @cached_property
    def abars(self) -> Array:
        """abar at each level."""
        return np.asarray(np.cumprod(1 - self.betas), dtype=np.float64)

    @cached_property
    def abars_below(self) -> Array:
        """abar one level cleaner; 1 below the cleanest."""
        return np.append(1.0, self.abars[:-1])

    @cached_property
    def abars_above(self) -> Array:
        """abar one level noisier; 0 above the noisiest."""
        return np.append(self.abars[1:], 0.0)

    @cached_property
    def posterior_variance(self) -> Array:
        """beta~ of q(x_{t-1} | x_t, x0)."""
        return self.betas * (1 - self.abars_below) / (1 - self.abars)

    @cached_property
    def posterior_log_variance(self) -> Array:
        """Its logarithm; at the cleanest level, where it is 0, that of the next."""
        return np.log(np.append(self.posterior_variance[1:2], self.posterior_variance[1:]))

    @cached_property
    def posterior_coefficients(self) -> tuple[Array, Array]:
        """Of x0 and of x_t in the posterior's mean."""
        of_clean = self.betas * np.sqrt(self.abars_below) / (1 - self.abars)
        return of_clean, (1 - self.abars_below) * np.sqrt(1 - self.betas) / (1 - self.abars)

    def noised(self, clean: Tensor, noise: Tensor, index: int) -> Tensor:
        """q(x_t | x0)."""
        abar = self.abars[index]
        return _number(np.sqrt(abar)) * clean + _number(np.sqrt(1 - abar)) * noise

    def clean_of(self, x: Tensor, noise: Tensor, index: int) -> Tensor:
        """x0 behind a noise."""
        abar = self.abars[index]
        return _number(np.sqrt(1 / abar)) * x - _number(np.sqrt(1 / abar - 1)) * noise

    def noise_of(self, x: Tensor, clean: Tensor, index: int) -> Tensor:
        """The noise behind an x0."""
        abar = self.abars[index]
        return (_number(np.sqrt(1 / abar)) * x - clean) / _number(np.sqrt(1 / abar - 1))

    def predicted(self, x: Tensor, noise: Tensor, logits: Tensor, index: int, clipped: bool = False) -> Prediction:
        """p(x_{t-1} | x_t) of a predicted noise and variance logits v: log Sigma lies (v + 1) / 2 of the way from the
        posterior's variance to beta. ``clipped`` keeps x0 in [-1, 1].
        """
        share = (logits + 1) / 2
        least, most = _number(self.posterior_log_variance[index]), _number(np.log(self.betas[index]))
        clean = self.clean_of(x, noise, index)
        clean = clean.clamp(-1, 1) if clipped else clean
        of_clean, of_x = (_number(c[index]) for c in self.posterior_coefficients)
        return Prediction(of_clean * clean + of_x * x, share * most + (1 - share) * least, clean)

    def ancestral_step(
        self, prediction: Prediction, fresh: Tensor, index: int, gradient: Tensor | float = 0.0
    ) -> Tensor:
        """x_{t-1}: the mean, moved by Sigma times the guidance's gradient, and fresh noise (none at the last step)."""
        mean = prediction.mean + prediction.log_variance.exp() * gradient
        return mean + (0.5 * prediction.log_variance).exp() * fresh if index else mean

    def ddim_step(
        self,
        x: Tensor,
        clean: Tensor,
        fresh: Tensor,
        index: int,
        eta: float = 0.0,
        gradient: Tensor | float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """x_{t-1} and the x0 it is made from; ``gradient`` corrects the noise by -sqrt(1 - abar) times itself."""
        noise = self.noise_of(x, clean, index)
        abar, below = self.abars[index], self.abars_below[index]
        if gradient is not None:
            noise = noise - _number(np.sqrt(1 - abar)) * gradient
            clean = self.clean_of(x, noise, index)
            noise = self.noise_of(x, clean, index)
        sigma = eta * np.sqrt((1 - below) / (1 - abar)) * np.sqrt(1 - abar / below)
        mean = _number(np.sqrt(below)) * clean + _number(np.sqrt(1 - below - sigma**2)) * noise
        return (mean + _number(sigma) * fresh if index else mean), clean

    def ddim_reverse(self, x: Tensor, clean: Tensor, index: int) -> Tensor:
        """x_{t+1} on DDIM's way to noise."""
        noise, above = self.noise_of(x, clean, index), self.abars_above[index]
        return _number(np.sqrt(above)) * clean + _number(np.sqrt(1 - above)) * noise


def _number(value: Any) -> float:
    """A schedule's number as the published code reads it."""
    return float(np.float32(value))


def rounded_index(timestep: int, steps: int) -> int:
    """The respaced index that ZeCon's guidance computes from a training timestep; often that of a neighbour."""
    return int(timestep * (steps / TIMESTEPS))


def white(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Standard normal noise, drawn on the CPU so that a seed means the same everywhere."""
    return torch.randn(tuple(shape), generator=generator)
