"""The published program of DiffStyler (lishaoxu1994/DiffStyler, December 2025), for comparison (spec diffstyler,
section 6).

It differs from its paper: the source runs through each UNet, base and LoRA alike; the LoRA does not act in the
attentions that are injected into; masks are hard; where none is, the base UNet's noise stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from velatura.diffusion.attention_control import Change, changed
from velatura.diffusion.guidance import conditional, guided_noise
from velatura.diffusion.inversion import Trajectory, invert
from velatura.errors import SettingError
from velatura.methods.base import Method, RunResult, Size, WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.diffstyler.fitting import PUBLISHED_RATE, STYLE_METHOD, FitSettings, fit_lora
from velatura.methods.diffstyler.injection import Injection, InjectionSites, Schedule, blended, injection_sites
from velatura.methods.diffstyler.settings import NEGATIVE_PROMPT
from velatura.methods.diffstyler.style import LoraBackbone, LoraStyle, check_lora_backbone, lora_backbone
from velatura.methods.fitting import fit_settings
from velatura.models.backbone import Backbone, Conditioning
from velatura.models.lora import attached, using
from velatura.models.noise_schedule import Levels, NoiseSchedule, ddim_step
from velatura.picture import Picture
from velatura.progress import Progress
from velatura.regions import Placement, Region
from velatura.regions.masks import image_of_mask
from velatura.style import Style

PUBLISHED_SIZE = (512, 512)
LORA = Schedule(0.6, 0.5, "adaptive")  # 30 and 25 of 50 steps, whatever the configuration says
BASE = Schedule(1.0, 1.0, "adaptive")


@dataclass(frozen=True)
class PublishedRegion:
    """A LoRA, the conditioning of its prompt, and the latent cells (h, w) it is pasted into, as booleans."""

    adapter: Mapping[str, Tensor]
    prompt: Conditioning
    cells: Tensor


@dataclass(frozen=True)
class PublishedRun:
    """The conditionings of the source's and the negative prompt, the sampling steps, and the guidance scale."""

    empty: Conditioning
    negative: Conditioning
    steps: int
    guidance_scale: float


def inversion_levels(schedule: NoiseSchedule) -> Levels:
    """t = 1, 2, …, T - 1, below which lies alphas_cumprod[0]: every level of the inversion."""
    abars = schedule.alphas_cumprod.tolist()
    return Levels(tuple(range(1, len(abars))), tuple(abars))


def latents_by_timestep(trajectory: Trajectory) -> Callable[[int], Tensor]:
    """z_t by training timestep."""
    by_timestep = dict(zip(trajectory.levels.timesteps, trajectory.latents[1:], strict=True))
    return lambda timestep: by_timestep[timestep]


def adapter_outside(adapter: Mapping[str, Tensor], sites: InjectionSites) -> dict[str, Tensor]:
    """The adapter without the attentions that are injected into: the published hooks bypass it there."""
    attentions = tuple(f"{projection.rpartition('.')[0]}." for projection in sites.attention)
    return {key: value for key, value in adapter.items() if not key.startswith(attentions)}


def first_row_injected(injection: Injection, sites: InjectionSites) -> dict[str, Change]:
    """The changes that blend what a pass's first row has at the sites into its other rows."""

    def change(share: float) -> Change:
        return lambda output: torch.cat([output[:1], blended(output[1:], output[:1], share)])

    return {name: change(share) for name, share in injection.shares(sites).items()}


def cells_of_mask(image: Image.Image, grid: tuple[int, int]) -> Tensor:
    """The cells (h, w) of a mask picture as published: its blue channel, bilinear without antialias, on if not zero."""
    import cv2

    blue = np.asarray(image.convert("RGB"))[:, :, 2]
    return torch.from_numpy(cv2.resize(blue, grid[::-1], interpolation=cv2.INTER_LINEAR).astype(bool))


def unwatched(_step: int, _tensors: dict[str, Tensor]) -> None:
    """Look at nothing."""


@torch.no_grad()
def denoise_published(
    backbone: LoraBackbone,
    z: Callable[[int], Tensor],
    regions: Sequence[PublishedRegion],
    run: PublishedRun,
    progress: Progress,
    watch: Callable[[int, dict[str, Tensor]], None] = unwatched,
) -> Tensor:
    """The last latents of the run, from the source's latents ``z`` by timestep.

    ``watch`` gets each step's number, from 1, and its tensors by name (x, eps3.base, eps3.loraK, …).
    """
    unet, sites = backbone.unet, injection_sites(backbone.unet)
    levels = backbone.schedule.ddim_levels(run.steps)
    x = z(levels.timesteps[-1])
    adapters = {f"lora{index}": adapter_outside(region.adapter, sites) for index, region in enumerate(regions)}
    with attached(unet, adapters):
        for index, (timestep, below, above) in enumerate(progress.track(levels.steps()[::-1], "denoising")):
            rows = torch.cat([z(timestep), x, x])

            def predicted(adapter: str | None, prompt: Conditioning, schedule: Schedule) -> Tensor:
                injection = schedule.at(index / run.steps, timestep, len(backbone.schedule))  # noqa: B023 (only here)
                conditioning = Conditioning.concatenate([run.empty, run.negative, prompt])
                with using(unet, adapter), changed(unet, first_row_injected(injection, sites)):
                    return backbone.predict(rows, timestep, conditioning).noise  # noqa: B023

            eps = predicted(None, run.empty, BASE)
            tensors = {"eps3.base": eps}
            for number, region in enumerate(regions):
                own = predicted(f"lora{number}", region.prompt, LORA)
                tensors[f"eps3.lora{number}"] = own
                eps = torch.where(region.cells.to(eps.device), own, eps)
            guided = guided_noise(eps[1:2], eps[2:3], run.guidance_scale)
            x = ddim_step(x, guided, above, below)
            watch(index + 1, {**tensors, "guided_eps": guided, "x": x})
    return x


class UnpastedPlacement(Placement):
    """Regions whose result is the whole picture: the published program does not blend with the content."""

    def paste(self, stylized: Image.Image, content: Image.Image) -> Image.Image:
        """The stylised picture."""
        return stylized


@dataclass(frozen=True)
class DiffStylerOriginal(FitSettings, Method):
    """The published program: squashed to 512 x 512, inverted over every timestep, hard masks.

    The settings are its own; ``prompt`` empty is the prompt that each style was fitted under.
    """

    name: ClassVar[str] = "diffstyler-original"
    style_method: ClassVar[str] = STYLE_METHOD
    regions: ClassVar[bool] = True

    fit_rate: float = PUBLISHED_RATE
    steps: int = 50
    guidance_scale: float = 10.5
    prompt: str = ""
    negative_prompt: str = NEGATIVE_PROMPT

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise SettingError(f"steps must be at least 1, not {self.steps}.")

    @property
    def fit_settings(self) -> Mapping[str, Any]:
        """The settings that a fit depends on."""
        return fit_settings(self, FitSettings)

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError for a model without UNet or text encoder."""
        check_lora_backbone(backbone, self.name)

    def fit(
        self,
        picture: Picture,
        name: str,
        context: RunContext[Backbone],
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """Train a LoRA on a style picture, at the published rate; resumed from ``checkpoint``."""
        return fit_lora(self, picture, name, lora_backbone(context, self.name), mask, checkpoint)

    def working_size(self, size: Size, backbone: Backbone) -> Size:
        """512 x 512, whatever the content's shape."""
        return PUBLISHED_SIZE

    def place(self, regions: Sequence[Region], content: Picture) -> Placement:
        """The regions' masks in a content."""
        placement = super().place(regions, content)
        return UnpastedPlacement(placement.regions, placement.masks)

    @torch.no_grad()
    def _run(self, contents: Sequence[WorkingPicture], context: RunContext[LoraBackbone]) -> list[RunResult]:
        return [RunResult(self._pixels(content, context)) for content in contents]

    def _pixels(self, content: WorkingPicture, context: RunContext[LoraBackbone]) -> Tensor:
        backbone, placement = context.backbone, content.placement
        trajectory = self.inverted(content, context)
        grid = (trajectory.noisiest.shape[2], trajectory.noisiest.shape[3])
        cells = [cells_of_mask(image_of_mask(mask).resize(content.size), grid) for mask in placement.masks]
        styles = [LoraStyle.of(region.style) for region in placement.regions]
        regions = [
            PublishedRegion(style.adapter, style.conditioning(self.prompt, backbone), pasted)
            for style, pasted in zip(styles, cells, strict=True)
        ]
        negative = backbone.encode_prompt([self.negative_prompt])
        run = PublishedRun(context.unconditional(), negative, self.steps, self.guidance_scale)
        z = latents_by_timestep(trajectory)
        return backbone.decode(denoise_published(backbone, z, regions, run, context.progress))

    def inverted(self, content: WorkingPicture, context: RunContext[LoraBackbone]) -> Trajectory:
        """The content's inversion over every timestep."""
        backbone, levels = context.backbone, inversion_levels(context.backbone.schedule)

        def compute() -> Tensor:
            predict = conditional(backbone, context.unconditional())
            latents = backbone.encode(content.pixels())
            return torch.cat(invert(predict, latents, levels, 0, context.progress).latents)

        key = ("published", content.picture.digest, backbone.fingerprint, content.size)
        stack = context.cache.get_or_compute_tensor(key, compute)
        return Trajectory(levels, torch.split(stack.to(backbone.device), 1))

    def to_image(self, pixels: Tensor, size: Size) -> Image.Image:
        """Pixels (1, 3, H, W), truncated to bytes, as a picture of ``size`` (width, height)."""
        unit = ((pixels + 1) / 2).clamp(0, 1)
        image = Image.fromarray((unit[0].permute(1, 2, 0) * 255).cpu().numpy().astype(np.uint8))
        return image.resize(size, Image.Resampling.LANCZOS)
