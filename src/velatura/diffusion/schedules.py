"""Noise levels: which timesteps a run visits, and the signal that is left at each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from velatura.errors import SettingError


@dataclass(frozen=True)
class Levels:
    """Timesteps from clean to noisy, and abar at each and before the first.

    ``timesteps`` rise; ``abars`` has one entry more: abars[0] is the level below the first timestep.
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


def ddim_levels(alphas_cumprod: Tensor, steps: int, final_abar: float | None = None) -> Levels:
    """Stable Diffusion's DDIM spacing: timesteps 1, 1 + 1000/steps, ...; ``final_abar`` lies below the first.

    ``final_abar`` defaults to alphas_cumprod[0]. Raises SettingError for steps outside 1..number of timesteps.
    """
    count = len(alphas_cumprod)
    if not 1 <= steps <= count:
        raise SettingError(f"The number of steps must be from 1 to {count}, not {steps}.")
    timesteps = [min(i * (count // steps) + 1, count - 1) for i in range(steps)]
    final = float(alphas_cumprod[0]) if final_abar is None else final_abar
    return Levels(tuple(timesteps), (final, *(float(alphas_cumprod[t]) for t in timesteps)))


def steps_of_strength(steps: int, strength: float) -> int:
    """How many of ``steps`` a strength in [0, 1] runs: the nearest whole number.

    Raises SettingError outside [0, 1]. (Rounding, because int(0.58 * 50) is 28.)
    """
    if not 0 <= strength <= 1:
        raise SettingError(f"The strength must be from 0 to 1, not {strength}.")
    return round(steps * strength)


def add_noise(latents: Tensor, noise: Tensor, abar: float) -> Tensor:
    """Forward noising: sqrt(abar) x0 + sqrt(1 - abar) eps (Ho et al. 2020, eq. 4)."""
    return math.sqrt(abar) * latents + math.sqrt(1 - abar) * noise


def add_noise_each(latents: Tensor, noise: Tensor, abars: Sequence[float]) -> Tensor:
    """``add_noise`` of a batch whose pictures are at levels of their own."""
    rows = zip(latents, noise, abars, strict=True)
    return torch.stack([add_noise(clean, eps, abar) for clean, eps, abar in rows])


def clean_of(latents: Tensor, noise: Tensor, abar: float) -> Tensor:
    """The x0 that ``latents`` hold if their noise is ``noise``."""
    return (latents - math.sqrt(1 - abar) * noise) / math.sqrt(abar)


def noise_of(latents: Tensor, clean: Tensor, abar: float) -> Tensor:
    """The noise that ``latents`` hold if they come from ``clean``."""
    return (latents - math.sqrt(abar) * clean) / math.sqrt(1 - abar)


SAMPLERS = ("ddim", "ddpm", "dpmsolver++", "unipc", "euler")


def make_sampler(name: str, base: Any) -> Any:
    """A diffusers scheduler by name with the noise schedule of the scheduler ``base``, fed with noise predictions.

    Raises SettingError for an unknown name.
    """
    from diffusers import (
        DDIMScheduler,
        DDPMScheduler,
        DPMSolverMultistepScheduler,
        EulerDiscreteScheduler,
        UniPCMultistepScheduler,
    )

    classes = {
        "ddim": DDIMScheduler,
        "ddpm": DDPMScheduler,
        "dpmsolver++": DPMSolverMultistepScheduler,
        "unipc": UniPCMultistepScheduler,
        "euler": EulerDiscreteScheduler,
    }
    if name not in classes:
        raise SettingError(f"Unknown sampler '{name}': use {', '.join(SAMPLERS)}.")
    config = {
        **{key: base.config[key] for key in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")},
        "trained_betas": base.config.get("trained_betas"),
        "prediction_type": "epsilon",
        "timestep_spacing": "leading",
        "steps_offset": 1,
    }
    if name == "ddim":
        config |= {"clip_sample": False, "set_alpha_to_one": False}
    elif name == "ddpm":
        config |= {"clip_sample": False}
    return classes[name](**config)


def with_learned_variance(sampler: Any, logits: Callable[[], Tensor]) -> Any:
    """A DDPM sampler that takes its variance from the network (Nichol & Dhariwal 2021, eq. 15).

    ``logits`` gives v in [-1, 1] of the prediction that the step is made from, (B, C, H, W).
    """
    learned = type(sampler).from_config(sampler.config, variance_type="learned_range")
    step = learned.step

    def stepped(noise: Tensor, timestep: Any, sample: Tensor, **options: Any) -> Any:
        return step(torch.cat([noise, logits().to(noise)], dim=1), timestep, sample, **options)

    learned.step = stepped
    return learned


def sampler_steps(sampler: Any, steps: int, run: int) -> Sequence[int]:
    """Set ``sampler`` to ``steps`` and return the last ``run`` of its timesteps, falling."""
    sampler.set_timesteps(steps)
    timesteps: Tensor = sampler.timesteps
    first = len(timesteps) - min(run, len(timesteps))
    if hasattr(sampler, "set_begin_index"):
        sampler.set_begin_index(first)
    return [int(t) for t in torch.round(timesteps[first:]).long().tolist()]
