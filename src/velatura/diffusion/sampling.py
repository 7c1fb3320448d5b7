"""The one denoising loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from velatura.diffusion.inversion import Predict
from velatura.diffusion.schedules import add_noise, clean_of, sampler_steps
from velatura.progress import Progress, Silent


@dataclass(frozen=True)
class Moment:
    """One step as seen by whoever steers or watches: variance-preserving ``latents``, their ``noise``, level."""

    index: int
    timestep: int
    abar: float
    latents: Tensor
    noise: Tensor

    @property
    def clean(self) -> Tensor:
        """The x0 that the model sees in the latents."""
        return clean_of(self.latents, self.noise, self.abar)


Steer = Callable[[Moment], Moment]
Watch = Callable[[Moment], None]


def unsteered(moment: Moment) -> Moment:
    """The model's own way."""
    return moment


def towards(moment: Moment, clean: Tensor) -> Moment:
    """The same noise around another clean estimate: sqrt(abar) clean + sqrt(1 - abar) eps."""
    return replace(moment, latents=add_noise(clean, moment.noise, moment.abar))


def ignored(_moment: Moment) -> None:
    """Watch nothing."""


def denoise(
    predict: Predict,
    latents: Tensor,
    sampler: Any,
    steps: int,
    run: int | None = None,
    *,
    steer: Steer = unsteered,
    watch: Watch = ignored,
    generator: torch.Generator | None = None,
    eta: float = 0.0,
    progress: Progress | None = None,
) -> Tensor:
    """Denoise variance-preserving ``latents`` over the last ``run`` (default: all) of ``steps`` steps.

    ``sampler`` is a diffusers scheduler (see ``make_sampler``). ``steer`` may return other latents or another
    noise than the predicted one; ``watch`` is called with what the step is then made from. ``eta`` (0 to 1,
    DDIM only) mixes in fresh noise from ``generator``, as DDPM always does. With ``run`` 0 the latents come back
    unchanged.
    """
    timesteps: Sequence[int] = sampler_steps(sampler, steps, steps if run is None else run)
    exploding = hasattr(sampler, "sigmas") and type(sampler).__name__.startswith("Euler")
    begin = len(sampler.timesteps) - len(timesteps)
    x = latents
    if exploding and timesteps:
        x = latents * float(sampler.sigmas[begin] ** 2 + 1) ** 0.5
    draws: dict[str, dict[str, Any]] = {
        "DDIMScheduler": {"eta": eta, "generator": generator},
        "DDPMScheduler": {"generator": generator},
    }
    stochastic = draws.get(type(sampler).__name__, {})
    for index, timestep in enumerate((progress or Silent()).track(timesteps, "denoising")):
        exact = sampler.timesteps[begin + index]
        preserved = sampler.scale_model_input(x, exact)
        noise = predict(preserved, timestep)
        moment = steer(Moment(index, timestep, float(sampler.alphas_cumprod[timestep]), preserved, noise))
        watch(moment)
        scale = float(sampler.sigmas[begin + index] ** 2 + 1) ** 0.5 if exploding else 1.0
        x = sampler.step(moment.noise, exact, scale * moment.latents, **stochastic).prev_sample
    return x
