"""One run of the published arithmetic (spec diffstyler, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from velatura.diffusion.guidance import conditional
from velatura.diffusion.injection import Schedule, Sites, injected_from_first_row, injection_sites
from velatura.diffusion.inversion import Trajectory, invert
from velatura.diffusion.schedules import Levels, add_noise, clean_of, ddim_levels
from velatura.memory import Memory
from velatura.models.adapters import attached, using
from velatura.models.backbone import Condition
from velatura.models.latent import LatentBackbone
from velatura.picture import Picture, image_to_pixels
from velatura.progress import Progress
from velatura.regions import Region
from velatura.regions.masks import image_of_mask

PUBLISHED_SIZE = (512, 512)
LORA = Schedule(0.6, 0.5, "adaptive")  # 30 and 25 of 50 steps, whatever the configuration says
BASE = Schedule(1.0, 1.0, "adaptive")


@dataclass(frozen=True)
class PublishedRegion:
    """A LoRA, the text states of its prompt (1, L, W), and where it is pasted: (h, w) booleans."""

    adapter: Mapping[str, Tensor]
    prompt: Condition
    cells: Tensor


def without_hooked(adapter: Mapping[str, Tensor], sites: Sites) -> dict[str, Tensor]:
    """The adapter where it acts: the published hooks bypass it in the attentions that they stand in."""
    return {key: value for key, value in adapter.items() if not key.startswith(sites.attentions)}


def published_levels(backbone: LatentBackbone) -> Levels:
    """t = 1, 2, …, 999, below which lies alphas_cumprod[0]: every level of the inversion."""
    abars = backbone.alphas_cumprod.tolist()
    return Levels(tuple(range(1, len(abars))), tuple(abars))


def at_timestep(trajectory: Trajectory) -> Callable[[int], Tensor]:
    """z_t by training timestep."""
    by_timestep = dict(zip(trajectory.levels.timesteps, trajectory.latents[1:], strict=True))
    return lambda timestep: by_timestep[timestep]


def cells_of_mask(image: Any, grid: tuple[int, int]) -> Tensor:
    """A mask picture as the published code reads it: blue channel, bilinear without antialias, non-zero is on."""
    import cv2

    blue = np.asarray(image.convert("RGB"))[:, :, 2]
    return torch.from_numpy(cv2.resize(blue, grid[::-1], interpolation=cv2.INTER_LINEAR).astype(bool))


@torch.no_grad()
def denoise_published(
    backbone: LatentBackbone,
    z: Callable[[int], Tensor],
    regions: Sequence[PublishedRegion],
    empty: Condition,
    negative: Condition,
    steps: int,
    guidance_scale: float,
    progress: Progress,
    watch: Callable[[int, dict[str, Tensor]], None] = lambda _step, _named: None,
) -> Tensor:
    """The last latent; ``watch`` sees each step's number and its tensors by name (x, eps3.base, eps3.loraK, …)."""
    unet, count = backbone.unet, len(backbone.alphas_cumprod)
    sites = injection_sites(unet)
    levels = ddim_levels(backbone.alphas_cumprod, steps)
    walk = list(zip(levels.timesteps, levels.abars[:-1], levels.abars[1:], strict=True))[::-1]
    x = z(levels.timesteps[-1])
    adapters = {f"lora{index}": without_hooked(region.adapter, sites) for index, region in enumerate(regions)}
    with attached(unet, adapters):
        for index, (timestep, below, above) in enumerate(progress.track(walk, "denoising")):
            rows = torch.cat([z(timestep), x, x])

            def predicted(adapter: str | None, prompt: Condition, schedule: Schedule) -> Tensor:
                injection = schedule.at(index / steps, timestep, count)  # noqa: B023 (called in this step only)
                with using(unet, adapter), injected_from_first_row(unet, sites, injection):
                    return backbone.predict(rows, timestep, Condition.joined([empty, negative, prompt]))  # noqa: B023

            eps = predicted(None, empty, BASE)
            named = {"eps3.base": eps}
            for number, region in enumerate(regions):
                own = predicted(f"lora{number}", region.prompt, LORA)
                named[f"eps3.lora{number}"] = own
                eps = torch.where(region.cells.to(eps.device), own, eps)
            guided = eps[1:2] + guidance_scale * (eps[2:3] - eps[1:2])
            x = add_noise(clean_of(x, guided, above), guided, below)
            watch(index + 1, {**named, "guided_eps": guided, "x": x})
    return x


@torch.no_grad()
def published_image(
    content: Picture,
    regions: Sequence[Region],
    prompts: Sequence[Condition],
    negative_prompt: str,
    steps: int,
    guidance_scale: float,
    backbone: LatentBackbone,
    progress: Progress,
    memory: Memory,
) -> Image.Image:
    """The whole run: squashed to 512 x 512, inverted over 999 steps, hard masks, the base model where there is none."""
    empty, levels = backbone.text([""]), published_levels(backbone)

    def inverted() -> Tensor:
        latents = backbone.encode(image_to_pixels(content.image, PUBLISHED_SIZE))
        return torch.cat(invert(conditional(backbone, empty), latents, levels, 0, progress).latents)

    stack = memory.recall_tensor(("published", content.digest, backbone.fingerprint), inverted)
    trajectory = Trajectory(levels, torch.split(stack.to(backbone.device), 1))
    grid = (trajectory.start.shape[2], trajectory.start.shape[3])
    pasted = [
        PublishedRegion(
            region.style.tensors,
            prompt,
            cells_of_mask(image_of_mask(region.mask(content)).resize(PUBLISHED_SIZE), grid),
        )
        for region, prompt in zip(regions, prompts, strict=True)
    ]
    negative = backbone.text([negative_prompt])
    latents = denoise_published(
        backbone, at_timestep(trajectory), pasted, empty, negative, steps, guidance_scale, progress
    )
    unit = ((backbone.decode(latents) + 1) / 2).clamp(0, 1)
    return Image.fromarray((unit[0].permute(1, 2, 0) * 255).cpu().numpy().astype(np.uint8))
