"""A pipeline's scheduler as a method's ``sampler``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from velatura.diffusion.samplers import LCM_STEPS
from velatura.errors import SettingError
from velatura.registry import method_class

SAMPLER_OF: Mapping[str, str] = {
    "DDIMScheduler": "ddim",
    "DDPMScheduler": "ddpm",
    "DPMSolverMultistepScheduler": "dpmsolver++",
    "UniPCMultistepScheduler": "unipc",
    "EulerDiscreteScheduler": "euler",
    "LCMScheduler": "lcm",
    # What Stable Diffusion's folders come with: its noise schedule is used, in DDIM steps.
    "PNDMScheduler": "ddim",
    "FlowMatchEulerDiscreteScheduler": "ddim",
}


# Options that would change a scheduler's steps, with the values that have the sampler's own steps.
KEPT: Mapping[str, tuple[Any, ...]] = {
    "use_karras_sigmas": (False, None),
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
    "use_lu_lambdas": (False, None),
    "use_flow_sigmas": (False, None),
    "algorithm_type": ("dpmsolver++",),
    "solver_order": (2,),
    "solver_type": ("midpoint", "bh2"),
    "timestep_spacing": ("leading",),
    "thresholding": (False,),
    "original_inference_steps": (LCM_STEPS,),
    "stochastic_sampling": (False, None),
}

log = logging.getLogger("velatura")


def sampler_settings(scheduler: Any, method: str) -> dict[str, str]:
    """The ``sampler`` setting that a pipeline's scheduler stands for; none for a method that always takes DDIM steps.

    A warning names the scheduler's options that have no effect. Raises SettingError for one that has no sampler here.
    """
    if all(field.name != "sampler" for field in fields(method_class(method))):
        return {}
    name = type(scheduler).__name__
    if name not in SAMPLER_OF:
        raise SettingError(
            f"The method {method} does not sample with {name}: set pipe.scheduler = DDIMScheduler.from_config("
            f"pipe.scheduler.config), or one of {', '.join(SAMPLER_OF)}."
        )
    trailing = name == "EulerDiscreteScheduler" and scheduler.config.timestep_spacing == "trailing"
    dropped = [f"{option}={value}" for option, value in _dropped(scheduler.config)]
    if trailing:
        dropped.remove("timestep_spacing=trailing")
    sampler = "euler-trailing" if trailing else SAMPLER_OF[name]
    if dropped:
        log.warning(
            "%s has no effect: the sampler %s takes its own steps, whatever else %s is set to.",
            ", ".join(dropped),
            sampler,
            name,
        )
    return {"sampler": sampler}


def _dropped(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The options of a scheduler that were set, and that its sampler here does not have."""
    usual = config.get("_use_default_values", ())  # names that nobody set
    return [
        (option, config[option])
        for option, kept in KEPT.items()
        if option in config and option not in usual and config[option] not in kept
    ]
