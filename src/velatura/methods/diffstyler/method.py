"""DiffStyler: each region is denoised by its style's LoRA, held to the content by injection (spec diffstyler)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from velatura.diffusion.guidance import conditional
from velatura.diffusion.injection import Injection, injected, injection_sites
from velatura.diffusion.inversion import Trajectory, invert
from velatura.diffusion.latents import mixed_noise, with_moments
from velatura.diffusion.schedules import Levels, add_noise, clean_of, ddim_levels, steps_of_strength
from velatura.diffusion.source import RecordedSource, Source, WalkedSource
from velatura.errors import StyleError
from velatura.memory import Memory
from velatura.methods.base import Stylization, manifest_of
from velatura.methods.diffstyler.fitting import FitSettings, fit_lora, said, start_moments
from velatura.methods.diffstyler.published import PUBLISHED_SIZE, published_image
from velatura.methods.diffstyler.settings import DiffStylerSettings
from velatura.methods.fits import fit_settings
from velatura.models.adapters import attached, using
from velatura.models.backbone import Backbone, Condition
from velatura.models.latent import LatentBackbone, only_latent
from velatura.picture import Picture, image_to_pixels, pixels_to_image, plan_size
from velatura.picture.tensors import covering
from velatura.progress import Progress
from velatura.regions import Region, latent_shares
from velatura.regions.masks import Mask, feathered, image_of_mask, over
from velatura.regions.region import described, layered
from velatura.style import Style
from velatura.style.pictures import pictures_of


@dataclass(frozen=True)
class DiffStyler(DiffStylerSettings):
    """The method; its settings are those of ``DiffStylerSettings``."""

    name: ClassVar[str] = "diffstyler"
    fits: ClassVar[str] = "diffstyler"

    @property
    def fitted_by(self) -> Mapping[str, Any]:
        return fit_settings(self, FitSettings)

    def fit(
        self,
        picture: Picture,
        backbone: Backbone,
        name: str,
        progress: Progress,
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """Train a LoRA on a style picture (section 1); resumed from ``checkpoint`` where that is there."""
        return fit_lora(self, self.fits, picture, only_latent(backbone, self.name), name, progress, mask, checkpoint)

    def stylize(
        self,
        contents: Sequence[Picture],
        regions: Sequence[Region],
        backbone: Backbone,
        seed: int,
        progress: Progress,
        memory: Memory,
    ) -> list[Stylization]:
        """Denoise every region with its style; what no region covers stays the content, bit for bit."""
        for region in regions:
            region.style.check(self.fits, backbone.fingerprint, backbone.name)
        latent = only_latent(backbone, self.name)
        settled = self.settled(backbone)
        one = settled._published if self.compat else settled._stylized
        return [one(content, regions, latent, seed, progress, memory) for content in contents]

    @torch.no_grad()
    def _stylized(
        self,
        content: Picture,
        regions: Sequence[Region],
        backbone: LatentBackbone,
        seed: int,
        progress: Progress,
        memory: Memory,
    ) -> Stylization:
        before = backbone.evaluations
        masks = [feathered(region.mask(content), self.feather) for region in regions]
        working = plan_size(content.size, self.size or backbone.native_size, backbone.multiple).working
        run = steps_of_strength(self.steps_taken, self.strength)
        levels = ddim_levels(backbone.alphas_cumprod, self.steps_taken).up_to(run)
        injections = [
            self.schedule.at(_passed(step, levels), timestep, len(backbone.alphas_cumprod))
            for step, timestep in enumerate(levels.timesteps)
        ]
        source = RecordedSource(backbone, backbone.text([""]), levels, injections)
        trajectory = self.inverted(content, working, source, memory, progress)
        latents, scores = trajectory.latents[0], {}
        if len(levels) and any(mask.any() for mask in masks):
            x = self.start(trajectory, regions, masks, backbone, memory, progress)
            if self.source == "walked":
                walked = WalkedSource(backbone, source.condition, trajectory, injections)
                latents = self.denoised(trajectory, x, regions, masks, walked, injections, backbone, progress)
                led_back, wanted = backbone.decode(walked.latents), backbone.decode(trajectory.latents[0])
                scores["inversion_psnr"] = float(peak_signal_noise_ratio(led_back, wanted, data_range=2.0))
            else:
                latents = self.denoised(trajectory, x, regions, masks, source, injections, backbone, progress)
        cover = np.minimum(1, np.sum(layered(masks), axis=0))
        stylised = pixels_to_image(backbone.decode(latents), content.size)
        made = manifest_of(self.name, asdict(self), content, regions[0].style, backbone, seed, working)
        return Stylization(
            over(stylised, content.image, cover),
            content.alpha,
            layers={f"mask{index}": image_of_mask(mask) for index, mask in enumerate(masks)},
            scores={**scores, "unet_evaluations": float(backbone.evaluations - before)},
            manifest={**made, "regions": described(regions)},
        )

    def inverted(
        self,
        content: Picture,
        working: tuple[int, int],
        source: RecordedSource,
        memory: Memory,
        progress: Progress,
    ) -> Trajectory:
        """The content's way to noise under the empty prompt (section 3), recorded on the way; kept on the disk.

        What is kept are the trajectory's latents and those that the last pass of each step saw.
        """
        backbone, levels = source.backbone, source.levels

        def computed() -> Tensor:
            latents = backbone.encode(image_to_pixels(content.image, working))
            way = source.invert(latents, self.corrections, progress).latents
            return torch.cat([*way, *(source.passed[timestep] for timestep in levels.timesteps)])

        key = ("inverted", content.digest, backbone.fingerprint, working, levels, self.corrections)
        kept = torch.split(memory.recall_tensor(key, computed).to(backbone.device), 1)
        source.passed = dict(zip(levels.timesteps, kept[len(levels) + 1 :], strict=True))
        return Trajectory(levels, kept[: len(levels) + 1])

    def denoised(
        self,
        trajectory: Trajectory,
        x: Tensor,
        regions: Sequence[Region],
        masks: Sequence[Mask],
        source: Source,
        injections: Sequence[Injection],
        backbone: LatentBackbone,
        progress: Progress,
    ) -> Tensor:
        """Section 5 with one source that all regions share: 2K samples a step, and what the source needs."""
        unet, levels = backbone.unet, trajectory.levels
        sites, negative = injection_sites(unet), backbone.text([self.negative_prompt])
        prompts = [self.condition(region.style, backbone) for region in regions]
        walk = list(zip(range(len(levels)), levels.timesteps, levels.abars[:-1], levels.abars[1:], strict=True))
        grid = (trajectory.start.shape[2], trajectory.start.shape[3])
        whole = latent_shares(masks, grid).to(backbone.device)
        adapters = {f"region{index}": region.style.tensors for index, region in enumerate(regions)}
        with attached(unet, adapters):
            for step, timestep, below, above in progress.track(walk[::-1], "denoising"):
                acting = [i for i, region in enumerate(regions) if region.acts_at(_passed(step, levels))]
                shares = whole
                if len(acting) < len(regions):
                    shares = latent_shares([mask * (i in acting) for i, mask in enumerate(masks)], grid).to(x)
                covered = shares.sum(0, keepdim=True)
                recording = source.recording(step)
                noise = torch.zeros_like(x)
                for number in acting:
                    both = Condition.joined([negative, prompts[number]])
                    with using(unet, f"region{number}"), injected(unet, sites, recording, injections[step]):
                        without, guided = backbone.predict(torch.cat([x, x]), timestep, both).chunk(2)
                    noise = noise + shares[number] * (without + self.guidance_scale * (guided - without))
                noise = noise / covered.clamp(min=1e-6)
                moved = add_noise(clean_of(x, noise, above), noise, below)
                # What no region covers goes the content's own way back.
                x = covered * moved + (1 - covered) * trajectory.latents[step]
        return x

    def condition(self, style: Style, backbone: LatentBackbone) -> Condition:
        """The prompt, or the one that the style was fitted under, with the style's own word where it has one."""
        return said(self.prompt or style.card.get("prompt", ""), style.tensors.get("word"), backbone)

    def start(
        self,
        trajectory: Trajectory,
        regions: Sequence[Region],
        masks: Sequence[Mask],
        backbone: LatentBackbone,
        memory: Memory,
        progress: Progress,
    ) -> Tensor:
        """The content's z_T, in each region ``start_adain`` of the way to the statistics of its style's z_T, and
        ``start_mix`` of the way to that itself.
        """
        start = x = trajectory.start
        shares = latent_shares(masks, (start.shape[2], start.shape[3])).to(start)
        for region, share in zip(regions, shares, strict=True):
            moments = start_moments(region.style, trajectory.levels.abars[-1])
            led = start if moments is None else with_moments(start, moments.to(start), self.start_adain)
            if self.start_mix:
                led = mixed_noise(
                    led, self.style_start(region.style, trajectory, backbone, memory, progress), self.start_mix
                )
            x = x + share * (led - start)
        return x

    def style_start(
        self, style: Style, trajectory: Trajectory, backbone: LatentBackbone, memory: Memory, progress: Progress
    ) -> Tensor:
        """The style picture's own z_T, at the content's size; kept on the disk."""
        pictures, levels = pictures_of(style), trajectory.levels
        if not pictures:
            raise StyleError(f"The style '{style.name}' has no picture with it to invert: set start_mix=0.")
        height, width = (side * backbone.factor for side in trajectory.start.shape[2:])

        def inverted() -> Tensor:
            latents = backbone.encode(image_to_pixels(covering(pictures[0][0], (width, height))))
            predict = conditional(backbone, backbone.text([""]))
            return invert(predict, latents, levels, self.corrections, progress).start

        key = ("style start", style.identity, (width, height), levels, self.corrections)
        return memory.recall_tensor(key, inverted).to(backbone.device)

    def _published(
        self,
        content: Picture,
        regions: Sequence[Region],
        backbone: LatentBackbone,
        seed: int,
        progress: Progress,
        memory: Memory,
    ) -> Stylization:
        """The published arithmetic (section 6), squashed to its square."""
        before = backbone.evaluations
        prompts = [self.condition(region.style, backbone) for region in regions]
        run = (self.negative_prompt, self.steps_taken, self.guidance_scale)
        image = published_image(content, regions, prompts, *run, backbone, progress, memory)
        made = manifest_of(self.name, asdict(self), content, regions[0].style, backbone, seed, PUBLISHED_SIZE)
        return Stylization(
            image.resize(content.size, Image.Resampling.LANCZOS),
            content.alpha,
            scores={"unet_evaluations": float(backbone.evaluations - before)},
            manifest={**made, "regions": described(regions)},
        )


def _passed(step: int, levels: Levels) -> float:
    """The share of the denoising that is behind when it comes to ``step``, counted from the clean end."""
    return 1 - (step + 1) / len(levels)
