"""Samplers: diffusers' schedulers, and RF-Solver, behind one small interface over variance-preserving latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from velatura.diffusion.rf_solver import RFSolverSampler
from velatura.errors import SettingError
from velatura.models.backbone import Prediction
from velatura.models.noise_schedule import NoiseSchedule


class Sampler(Protocol):
    """The steps of one run: falling ``timesteps`` and alphas_cumprod at each (``abars``), indexed from the noisiest."""

    timesteps: tuple[int, ...]
    abars: tuple[float, ...]

    def start(self, latents: Tensor) -> Tensor:
        """The sampler's own x of variance-preserving latents at the first timestep."""
        ...

    def scale(self, x: Tensor, index: int) -> Tensor:
        """The variance-preserving latents of the sampler's own x."""
        ...

    def step(self, prediction: Prediction, index: int, latents: Tensor) -> Tensor:
        """The sampler's next x, from variance-preserving latents at ``index`` and the prediction for them."""
        ...


@dataclass(frozen=True)
class Run:
    """The last ``run`` of ``steps`` steps. ``generator`` draws fresh noise; DDIM uses a share ``eta`` (0..1) of it."""

    steps: int
    run: int
    eta: float = 0.0
    generator: torch.Generator | None = None


class DiffusersSampler:
    """A diffusers scheduler, set to a run; ``options`` go to each of its steps."""

    def __init__(
        self, scheduler: Any, schedule: NoiseSchedule, run: Run, options: Mapping[str, Any] | None = None
    ) -> None:
        self.scheduler, self.options = scheduler, dict(options or {})
        scheduler.set_timesteps(run.steps)
        self.first = len(scheduler.timesteps) - min(run.run, len(scheduler.timesteps))
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(self.first)
        remaining = torch.round(scheduler.timesteps[self.first :]).long()
        self.timesteps: tuple[int, ...] = tuple(remaining.tolist())
        self.abars = tuple(float(schedule.alphas_cumprod[timestep]) for timestep in self.timesteps)

    def start(self, latents: Tensor) -> Tensor:
        """The latents themselves: they are variance-preserving already."""
        return latents

    def scale(self, x: Tensor, index: int) -> Tensor:
        """The latents as the scheduler scales them for the model."""
        scaled: Tensor = self.scheduler.scale_model_input(x, self._timestep(index))
        return scaled

    def step(self, prediction: Prediction, index: int, latents: Tensor) -> Tensor:
        """The scheduler's step by the predicted noise."""
        return self._stepped(prediction.noise, index, latents)

    def _stepped(self, output: Tensor, index: int, sample: Tensor) -> Tensor:
        stepped: Tensor = self.scheduler.step(output, self._timestep(index), sample, **self.options).prev_sample
        return stepped

    def _timestep(self, index: int) -> Any:
        return self.scheduler.timesteps[self.first + index]


class SigmaSampler(DiffusersSampler):
    """A scheduler whose x is variance-exploding: x = latents * sqrt(sigma^2 + 1) (Karras et al. 2022)."""

    def start(self, latents: Tensor) -> Tensor:
        """Latents scaled to the first sigma."""
        return latents * self._scale(0) if self.timesteps else latents

    def step(self, prediction: Prediction, index: int, latents: Tensor) -> Tensor:
        """The scheduler's step from the latents scaled back to its sigma."""
        return self._stepped(prediction.noise, index, self._scale(index) * latents)

    def _scale(self, index: int) -> float:
        scale: float = float(self.scheduler.sigmas[self.first + index] ** 2 + 1) ** 0.5
        return scale


class LearnedVarianceSampler(DiffusersSampler):
    """Ancestral sampling with the variance that the model predicts (Nichol & Dhariwal 2021, eq. 15)."""

    def step(self, prediction: Prediction, index: int, latents: Tensor) -> Tensor:
        """The step by noise and variance logits. Raises SettingError for a model that predicts no variance."""
        if prediction.variance is None:
            raise SettingError("This model has learned no variance: choose another sampler.")
        return self._stepped(torch.cat([prediction.noise, prediction.variance.to(prediction.noise)], 1), index, latents)


def _settings(schedule: NoiseSchedule, **more: Any) -> dict[str, Any]:
    """A scheduler's configuration: this schedule, fed with noise predictions, Stable Diffusion's spacing."""
    spacing = {"prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 1}
    return {**schedule.betas, **spacing, **more}


def _ddim(schedule: NoiseSchedule, run: Run) -> Sampler:
    from diffusers import DDIMScheduler

    settings = _settings(schedule, clip_sample=False, set_alpha_to_one=False)
    return DiffusersSampler(DDIMScheduler(**settings), schedule, run, {"eta": run.eta, "generator": run.generator})


def _ddpm(schedule: NoiseSchedule, run: Run) -> Sampler:
    from diffusers import DDPMScheduler

    return DiffusersSampler(
        DDPMScheduler(**_settings(schedule, clip_sample=False)), schedule, run, {"generator": run.generator}
    )


def _dpm_solver(schedule: NoiseSchedule, run: Run) -> Sampler:
    from diffusers import DPMSolverMultistepScheduler

    return DiffusersSampler(DPMSolverMultistepScheduler(**_settings(schedule)), schedule, run)


def _unipc(schedule: NoiseSchedule, run: Run) -> Sampler:
    from diffusers import UniPCMultistepScheduler

    return DiffusersSampler(UniPCMultistepScheduler(**_settings(schedule)), schedule, run)


def _euler(schedule: NoiseSchedule, run: Run) -> Sampler:
    from diffusers import EulerDiscreteScheduler

    return SigmaSampler(EulerDiscreteScheduler(**_settings(schedule)), schedule, run)


def _euler_trailing(schedule: NoiseSchedule, run: Run) -> Sampler:
    from diffusers import EulerDiscreteScheduler

    return SigmaSampler(EulerDiscreteScheduler(**_settings(schedule, timestep_spacing="trailing")), schedule, run)


def _lcm(schedule: NoiseSchedule, run: Run) -> Sampler:
    from diffusers import LCMScheduler

    if run.steps > LCM_STEPS:
        raise SettingError(f"The sampler lcm has at most {LCM_STEPS} steps, not {run.steps}: 4 to 8 are usual.")
    scheduler = LCMScheduler(**_settings(schedule), original_inference_steps=LCM_STEPS)
    return DiffusersSampler(scheduler, schedule, run, {"generator": run.generator})


def _rf_solver(schedule: NoiseSchedule, run: Run) -> Sampler:
    return RFSolverSampler(schedule, schedule.ddim_levels(run.steps).up_to(run.run))


def learned_variance_sampler(schedule: NoiseSchedule, run: Run) -> Sampler:
    """DDPM for a model that predicts its variance."""
    from diffusers import DDPMScheduler

    settings = _settings(schedule, clip_sample=False, variance_type="learned_range")
    return LearnedVarianceSampler(DDPMScheduler(**settings), schedule, run, {"generator": run.generator})


SAMPLERS: Mapping[str, Callable[[NoiseSchedule, Run], Sampler]] = {
    "ddim": _ddim,
    "ddpm": _ddpm,
    "dpmsolver++": _dpm_solver,
    "unipc": _unipc,
    "euler": _euler,
    "rf-solver": _rf_solver,
    "lcm": _lcm,
    "euler-trailing": _euler_trailing,
}
# Samplers of models for few steps: their first levels are not those that an inversion arrives at.
FEW_STEPS = ("lcm", "euler-trailing")
LCM_STEPS = 50  # of the schedule that latent consistency models are distilled on


def check_sampler(name: str) -> None:
    """Raise SettingError for an unknown sampler."""
    if name not in SAMPLERS:
        raise SettingError(f"Unknown sampler '{name}': use {', '.join(SAMPLERS)}.")


def make_sampler(name: str, schedule: NoiseSchedule, run: Run) -> Sampler:
    """A sampler by name, set to a run. Raises SettingError for an unknown name."""
    check_sampler(name)
    return SAMPLERS[name](schedule, run)


def start_level(name: str, schedule: NoiseSchedule, run: Run) -> tuple[int, float]:
    """The timestep and alphas_cumprod of the noise from which a sampler's ``run`` starts."""
    if name in FEW_STEPS:
        sampler = make_sampler(name, schedule, run)
        return sampler.timesteps[0], sampler.abars[0]
    levels = schedule.ddim_levels(run.steps).up_to(run.run)
    return levels.timesteps[-1], levels.abars[-1]
