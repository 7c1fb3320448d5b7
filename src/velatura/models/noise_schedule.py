"""A diffusion model's noise schedule, and the closed forms between x_t, x_0 and the noise.

Notation: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4), with abar_t = alphas_cumprod[t].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from velatura.errors import ModelError, SettingError


def add_noise(x0: Tensor, noise: Tensor, abar: float) -> Tensor:
    """x_t of clean latents: sqrt(abar) x_0 + sqrt(1 - abar) eps (Ho et al. 2020, eq. 4)."""
    return math.sqrt(abar) * x0 + math.sqrt(1 - abar) * noise


def add_noise_each(x0: Tensor, noise: Tensor, abars: Sequence[float]) -> Tensor:
    """``add_noise`` of a batch (B, C, h, w) with a noise level for each picture."""
    rows = zip(x0, noise, abars, strict=True)
    return torch.stack([add_noise(clean, eps, abar) for clean, eps, abar in rows])


def predict_x0(latents: Tensor, noise: Tensor, abar: float) -> Tensor:
    """x_0 of latents x_t whose noise is known: (x_t - sqrt(1 - abar) eps) / sqrt(abar)."""
    return (latents - math.sqrt(1 - abar) * noise) / math.sqrt(abar)


def predict_noise(latents: Tensor, x0: Tensor, abar: float) -> Tensor:
    """The noise of latents x_t whose x_0 is known: (x_t - sqrt(abar) x_0) / sqrt(1 - abar)."""
    return (latents - math.sqrt(abar) * x0) / math.sqrt(1 - abar)


def ddim_step(latents: Tensor, noise: Tensor, abar: float, target_abar: float) -> Tensor:
    """The deterministic DDIM step from level ``abar`` to ``target_abar``, in either direction (Song et al. 2021,
    eq. 12 with sigma = 0).
    """
    return add_noise(predict_x0(latents, noise, abar), noise, target_abar)


def split_v(noisy: Tensor, v: Tensor, abars: Tensor) -> tuple[Tensor, Tensor]:
    """x0 and noise of ``noisy`` latents (B, C, h, w) at the levels ``abars`` (B,), by v (Salimans and Ho 2022)."""
    root, rest = abars.sqrt()[:, None, None, None], (1 - abars).sqrt()[:, None, None, None]
    return root * noisy - rest * v, root * v + rest * noisy


@dataclass(frozen=True)
class Levels:
    """The noise levels that a DDIM run visits, from clean to noisy.

    ``timesteps`` rise. ``abars`` has one entry more: abars[0] lies below the first timestep.
    """

    timesteps: tuple[int, ...]
    abars: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.timesteps)

    def up_to(self, count: int) -> Levels:
        """The ``count`` cleanest levels."""
        return Levels(self.timesteps[:count], self.abars[: count + 1])

    def beyond(self, count: int) -> Levels:
        """All but the ``count`` cleanest levels."""
        return Levels(self.timesteps[count:], self.abars[count:])

    def steps(self) -> list[tuple[int, float, float]]:
        """(timestep, abar below it, abar at it) of each level, from clean to noisy."""
        return list(zip(self.timesteps, self.abars[:-1], self.abars[1:], strict=True))


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The noise levels a model was trained on, and what its network predicts.

    ``alphas_cumprod`` is abar_t, (T,), float64. ``prediction_type`` is "epsilon", "v_prediction", "sample" or
    "flow" (a flow's velocity eps - x_0).
    ``betas`` holds the schedule as diffusers' schedulers take it (``num_train_timesteps``, ``beta_schedule``, …).
    """

    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"
    betas: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_scheduler(cls, scheduler: Any) -> NoiseSchedule:
        """The schedule of a diffusers scheduler."""
        names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")
        betas = {name: scheduler.config[name] for name in names}
        betas["trained_betas"] = scheduler.config.get("trained_betas")
        return cls(scheduler.alphas_cumprod.double(), scheduler.config.prediction_type, betas)

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def ddim_levels(self, steps: int, final_abar: float | None = None) -> Levels:
        """Stable Diffusion's DDIM spacing: timesteps 1, 1 + T // steps, …; ``final_abar`` lies below the first.

        ``final_abar`` defaults to alphas_cumprod[0]. Raises SettingError for steps outside 1..T.
        """
        count = len(self)
        if not 1 <= steps <= count:
            raise SettingError(f"The number of steps must be from 1 to {count}, not {steps}.")
        timesteps = [min(i * (count // steps) + 1, count - 1) for i in range(steps)]
        final = float(self.alphas_cumprod[0]) if final_abar is None else final_abar
        return Levels(tuple(timesteps), (final, *(float(self.alphas_cumprod[t]) for t in timesteps)))

    def output_to_noise(self, output: Tensor, latents: Tensor, timesteps: Tensor) -> Tensor:
        """The noise that a network's ``output`` (B, C, h, w) means at ``timesteps`` (B,).

        v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans & Ho 2022); a flow's velocity is eps - x_0 (Liu et al. 2023).
        Raises ModelError for an unknown prediction type.
        """
        if self.prediction_type == "epsilon":
            return output
        abar = self.alphas_cumprod.to(output.device)[timesteps.long()].float()[:, None, None, None]
        if self.prediction_type == "v_prediction":
            return abar.sqrt() * output + (1 - abar).sqrt() * latents
        if self.prediction_type == "sample":
            return (latents - abar.sqrt() * output) / (1 - abar).sqrt()
        if self.prediction_type == "flow":
            return (latents + abar.sqrt() * output) / (abar.sqrt() + (1 - abar).sqrt())
        raise ModelError(f"A model that predicts '{self.prediction_type}' is not supported: use epsilon or v models.")


def steps_of_strength(steps: int, strength: float) -> int:
    """How many of ``steps`` a strength in [0, 1] runs: the nearest whole number.

    Raises SettingError outside [0, 1]. (Rounding, because int(0.58 * 50) is 28.)
    """
    if not 0 <= strength <= 1:
        raise SettingError(f"The strength must be from 0 to 1, not {strength}.")
    return round(steps * strength)
