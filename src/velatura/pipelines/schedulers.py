"""A pipeline's scheduler as a method's ``sampler``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

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


def sampler_settings(scheduler: Any, method: str) -> dict[str, str]:
    """The ``sampler`` setting that a pipeline's scheduler stands for; none for a method that always takes DDIM steps.

    Raises SettingError for a scheduler that has no sampler here.
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
    return {"sampler": "euler-trailing" if trailing else SAMPLER_OF[name]}
