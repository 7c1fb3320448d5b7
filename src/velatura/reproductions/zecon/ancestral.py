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

from velatura.errors import ModelError, SettingError
from velatura.models.backbone import Prediction

Array = NDArray[np.float64]

TIMESTEPS = 1000


def betas_of(schedule: str, timesteps: int = TIMESTEPS) -> Array:
    """The training betas (T,): "linear" from 1e-4 to 0.02, or "cosine" with betas of at most 0.999."""
    if schedule == "linear":
        return np.linspace(1e-4, 0.02, timesteps) * (TIMESTEPS / timesteps)
    levels = [math.cos((i / timesteps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(timesteps + 1)]
    return np.array([min(1 - after / before, 0.999) for before, after in pairwise(levels)])


def respaced(spacing: str, timesteps: int = TIMESTEPS) -> tuple[int, ...]:
    """The training timesteps that a spacing visits, rising.

    "50" spreads 50 over all timesteps, "10,15,20" that many over each third, "ddim50" takes a whole stride.
    Raises SettingError for a malformed or impossible spacing.
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
class AncestralPrediction:
    """p(x_{t-1} | x_t): its mean and log variance, and the predicted x0; each (B, C, H, W)."""

    mean: Tensor
    log_variance: Tensor
    x0: Tensor


@dataclass(frozen=True)
class AncestralSchedule:
    """A respaced noise schedule: the visited training ``timesteps``, rising, and the ``betas`` between them."""

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
        """abar of the next cleaner level; 1 below the cleanest."""
        return np.append(1.0, self.abars[:-1])

    @cached_property
    def abars_above(self) -> Array:
        """abar of the next noisier level; 0 above the noisiest."""
        return np.append(self.abars[1:], 0.0)

    @cached_property
    def posterior_variance(self) -> Array:
        """The variance beta~ of q(x_{t-1} | x_t, x0) at each level."""
        return self.betas * (1 - self.abars_below) / (1 - self.abars)

    @cached_property
    def posterior_log_variance(self) -> Array:
        """The logarithm of the posterior variance; at the cleanest level, where that is 0, the next level's."""
        return np.log(np.append(self.posterior_variance[1:2], self.posterior_variance[1:]))

    @cached_property
    def posterior_coefficients(self) -> tuple[Array, Array]:
        """The coefficients of x0 and of x_t in the mean of q(x_{t-1} | x_t, x0), at each level."""
        of_x0 = self.betas * np.sqrt(self.abars_below) / (1 - self.abars)
        return of_x0, (1 - self.abars_below) * np.sqrt(1 - self.betas) / (1 - self.abars)

    def add_noise(self, x0: Tensor, noise: Tensor, index: int) -> Tensor:
        """x_t of x0 and noise."""
        abar = self.abars[index]
        return _number(np.sqrt(abar)) * x0 + _number(np.sqrt(1 - abar)) * noise

    def predict_x0(self, x: Tensor, noise: Tensor, index: int) -> Tensor:
        """x0 of x_t whose noise is known."""
        abar = self.abars[index]
        return _number(np.sqrt(1 / abar)) * x - _number(np.sqrt(1 / abar - 1)) * noise

    def predict_noise(self, x: Tensor, x0: Tensor, index: int) -> Tensor:
        """The noise of x_t whose x0 is known."""
        abar = self.abars[index]
        return (_number(np.sqrt(1 / abar)) * x - x0) / _number(np.sqrt(1 / abar - 1))

    def posterior_mean(self, x: Tensor, x0: Tensor, index: int) -> Tensor:
        """The mean of q(x_{t-1} | x_t, x0)."""
        of_x0, of_x = (_number(coefficient[index]) for coefficient in self.posterior_coefficients)
        return of_x0 * x0 + of_x * x

    def log_variance(self, logits: Tensor, index: int) -> Tensor:
        """log Sigma: (v + 1) / 2 of the way from the posterior's log variance to log beta, by the model's logits v."""
        share = (logits + 1) / 2
        least, most = _number(self.posterior_log_variance[index]), _number(np.log(self.betas[index]))
        return share * most + (1 - share) * least

    def predict_step(self, x: Tensor, prediction: Prediction, index: int) -> AncestralPrediction:
        """p(x_{t-1} | x_t) by a model's prediction. Raises ModelError where the model has learned no variance."""
        if prediction.variance is None:
            raise ModelError("This model has learned no variance: use another one.")
        x0 = self.predict_x0(x, prediction.noise, index)
        log_variance = self.log_variance(prediction.variance, index)
        return AncestralPrediction(self.posterior_mean(x, x0, index), log_variance, x0)

    def ancestral_step(
        self, prediction: AncestralPrediction, fresh: Tensor, index: int, gradient: Tensor | float = 0.0
    ) -> Tensor:
        """x_{t-1}: the mean plus Sigma times the guidance's ``gradient``, and ``fresh`` noise but in the last step."""
        mean = prediction.mean + prediction.log_variance.exp() * gradient
        return mean + (0.5 * prediction.log_variance).exp() * fresh if index else mean

    def ddim_step(
        self,
        x: Tensor,
        x0: Tensor,
        fresh: Tensor,
        index: int,
        eta: float = 0.0,
        gradient: Tensor | float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """x_{t-1} and the x0 it is made from, after -sqrt(1 - abar) ``gradient`` was added to the noise."""
        noise = self.predict_noise(x, x0, index)
        abar, below = self.abars[index], self.abars_below[index]
        if gradient is not None:
            noise = noise - _number(np.sqrt(1 - abar)) * gradient
            x0 = self.predict_x0(x, noise, index)
            noise = self.predict_noise(x, x0, index)
        sigma = eta * np.sqrt((1 - below) / (1 - abar)) * np.sqrt(1 - abar / below)
        mean = _number(np.sqrt(below)) * x0 + _number(np.sqrt(1 - below - sigma**2)) * noise
        return (mean + _number(sigma) * fresh if index else mean), x0

    def ddim_reverse(self, x: Tensor, x0: Tensor, index: int) -> Tensor:
        """x_{t+1}, by a DDIM step towards the noise."""
        noise, above = self.predict_noise(x, x0, index), self.abars_above[index]
        return _number(np.sqrt(above)) * x0 + _number(np.sqrt(1 - above)) * noise


def _number(value: Any) -> float:
    """A schedule's number, rounded to float32 as the published code does."""
    return float(np.float32(value))


def rounded_index(timestep: int, steps: int) -> int:
    """The respaced index that ZeCon's guidance computes in float32 from a training timestep; often a neighbour's."""
    return int(np.float32(timestep) * np.float32(steps / TIMESTEPS))


def white_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Standard normal noise from a CPU generator."""
    return torch.randn(tuple(shape), generator=generator)
