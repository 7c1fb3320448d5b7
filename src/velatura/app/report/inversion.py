"""How well a content's inversion leads back to it: what a result can keep at the most."""

from __future__ import annotations

import torch

from velatura.app.recorded import Recorded
from velatura.app.studio import Studio
from velatura.diffusion.cached_inversion import DDIM, InversionSettings, cached_inversion
from velatura.diffusion.denoising import denoise
from velatura.diffusion.guidance import conditional
from velatura.diffusion.samplers import Run, make_sampler
from velatura.evaluation import psnr
from velatura.methods.guided.settings import FAST, NOISE
from velatura.models.noise_schedule import steps_of_strength
from velatura.picture import Picture, image_to_pixels

SCORE = "inversion_psnr"


@torch.no_grad()
def inversion_score(studio: Studio, recorded: Recorded, content: Picture) -> dict[str, float]:
    """The PSNR of a content's decoded latents, inverted and denoised again without any style, against them decoded.

    Nothing where the run has measured it, or did not invert the content. It costs a run without guidance.
    """
    settings = recorded.manifest["settings"]
    inverts = "corrections" in settings and settings.get("start") not in (NOISE, FAST)
    if SCORE in recorded.scores or not inverts or "crops" in recorded.manifest:
        return {}
    context, backbone = studio.context(), studio.backbone
    run = steps_of_strength(settings["steps"], settings["strength"])
    width, height = recorded.manifest["working_size"]
    clean = backbone.encode(image_to_pixels(content.image, (width, height)).to(context.device))
    unconditional = backbone.unconditional()
    solver = settings.get("inversion", DDIM)
    inversion = InversionSettings(settings["steps"], run, settings["corrections"], solver)
    noisy = cached_inversion(backbone, clean, unconditional, inversion, context.cache, context.progress)
    back = make_sampler(solver, backbone.schedule, Run(settings["steps"], run))
    again = denoise(conditional(backbone, unconditional), noisy, back)
    pictures = [backbone.decode(latents).float().clamp(-1, 1).cpu() for latents in (again, clean)]
    return {SCORE: psnr(*pictures)} if run else {}
