"""DiffStyler: each region is denoised by its style's LoRA, held to the content by injection (spec diffstyler)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from velatura.diffusion.attention_control import changed
from velatura.diffusion.denoising import denoise
from velatura.diffusion.guidance import classifier_free, conditional, without_adapters
from velatura.diffusion.guidance_scaling import GuidanceScaling
from velatura.diffusion.inversion import Predict, Trajectory, invert
from velatura.diffusion.latents import held, mixed_noise, with_moments
from velatura.diffusion.samplers import Run, make_sampler
from velatura.diffusion.source_features import RecordedSource, SourceFeatures, SourceInversion, WalkedSource
from velatura.errors import SettingError
from velatura.methods.base import RunResult, WorkingPicture
from velatura.methods.colours import recoloured
from velatura.methods.context import RunContext
from velatura.methods.diffstyler.fitting import STYLE_METHOD, FitSettings, fit_lora
from velatura.methods.diffstyler.injection import InjectionSites
from velatura.methods.diffstyler.settings import DiffStylerSettings
from velatura.methods.diffstyler.style import LoraBackbone, LoraStyle, check_lora_backbone, check_loras, lora_backbone
from velatura.methods.fitting import fit_settings
from velatura.methods.latent_regions import StepRegions, regions_of_steps
from velatura.methods.region_tones import unclipped
from velatura.methods.validation import changed as changed_settings
from velatura.models.backbone import Backbone, HasTransformer, Prediction, denoising_network
from velatura.models.lora import attached, using
from velatura.models.noise_schedule import Levels, steps_of_strength
from velatura.picture import Picture, image_to_pixels
from velatura.picture.tensors import covering
from velatura.regions import Placement, Region
from velatura.style import Style

Context = RunContext[LoraBackbone]


@dataclass(frozen=True)
class DiffStyler(DiffStylerSettings):
    """The method; its settings are those of ``DiffStylerSettings``."""

    name: ClassVar[str] = "diffstyler"
    style_method: ClassVar[str] = STYLE_METHOD

    @property
    def fit_settings(self) -> Mapping[str, Any]:
        """The settings that a fit depends on."""
        return fit_settings(self, FitSettings)

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError for a model without UNet or transformer, or without text encoder, and SettingError for
        features of a transformer, which has none.
        """
        check_lora_backbone(backbone, self.name)
        if isinstance(backbone, HasTransformer) and changed_settings(self, ["feature_share"]):
            raise SettingError(
                f"feature_share acts on a UNet's convolutions, and {backbone.name} is a transformer: leave it out, and "
                "hold the content with attention_share."
            )

    def fit(
        self,
        picture: Picture,
        name: str,
        context: RunContext[Backbone],
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """Train a LoRA on a picture, white in ``mask`` where it counts (section 1); resumed from ``checkpoint``."""
        return fit_lora(self, [picture], name, lora_backbone(context, self.name), mask, checkpoint)

    def fit_several(
        self, pictures: Sequence[Picture], name: str, context: RunContext[Backbone], checkpoint: Path | None = None
    ) -> Style:
        """Train one LoRA on several pictures, which take turns."""
        return fit_lora(self, pictures, name, lora_backbone(context, self.name), None, checkpoint)

    def place(self, regions: Sequence[Region], content: Picture) -> Placement:
        """The regions' masks in a content, softened over ``feather`` pixels."""
        return Placement.of(regions, content, self.feather, self.edge_radius(content))

    def detail_share(self, placement: Placement) -> float:
        """How much of the photo's detail comes back, in whole pictures too."""
        return self.detail

    def _check_regions(self, regions: Sequence[Region], backbone: Backbone) -> None:
        super()._check_regions(regions, backbone)
        check_loras(regions, backbone)

    @torch.no_grad()
    def _run(self, contents: Sequence[WorkingPicture], context: Context) -> list[RunResult]:
        return [self._run_one(content, context) for content in contents]

    def _run_one(self, content: WorkingPicture, context: Context) -> RunResult:
        """Invert the content, start from its noise in the styles' statistics, denoise each region by its LoRA."""
        backbone = context.backbone
        levels = backbone.schedule.ddim_levels(self.steps).up_to(steps_of_strength(self.steps, self.strength))
        pixels = self.recoloured(content.pixels(), content)
        source = self.inverted(pixels, levels, context)
        trajectory = source.trajectory
        clean = trajectory.latents[0]
        if not len(levels) or not content.placement.union().any():
            return RunResult(backbone.decode(clean))
        x = self.start(trajectory, content.placement, context)
        acted = {"acted": [self.acted(region) for region in content.placement.regions]}
        if self.source == "recorded":
            latents = self.denoised(x, source, trajectory, content.placement, context)
            return RunResult(self.finished(latents, content, backbone), manifest=acted)
        walked = WalkedSource(source.inversion, trajectory)
        latents = self.denoised(x, walked, trajectory, content.placement, context)
        psnr = _psnr(backbone.decode(walked.latents), backbone.decode(clean))
        result = self.finished(latents, content, backbone)
        return RunResult(result, scores={"inversion_psnr": psnr}, manifest=acted)

    def recoloured(self, pixels: Tensor, content: WorkingPicture) -> Tensor:
        """Pixels (1, 3, H, W) of a content, in each region ``palette`` of the way to its style's; less below strength
        0.5, so that a small strength is a small change.
        """
        share = self.palette * min(1.0, 2 * self.strength)
        return recoloured(pixels, content.pixels(), content.placement, share)

    def finished(self, latents: Tensor, content: WorkingPicture, backbone: LoraBackbone) -> Tensor:
        """The pixels of stylised latents, unclipped and in the styles' palettes once more."""
        return self.recoloured(unclipped(backbone.decode(latents), content.placement), content)

    def acted(self, region: Region) -> dict[str, Any]:
        """The settings that acted in a region, where they depend on its style."""
        style = LoraStyle.of(region.style)
        started = region.span.contains(0.0)
        return {
            "prompt": self.prompt or style.prompt,
            "start_adain": self.start_adain if started and style.moments is not None else 0.0,
            "start_mix": self.start_mix if started else 0.0,
        }

    def inverted(self, pixels: Tensor, levels: Levels, context: Context) -> RecordedSource:
        """The inversion of pixels (1, 3, H, W) under the empty prompt, with the features that will be injected
        (section 3).
        """
        backbone = context.backbone
        sites = InjectionSites.of(backbone, (pixels.shape[2] // backbone.factor, pixels.shape[3] // backbone.factor))
        injections = self.schedule.over(levels.timesteps[::-1], len(backbone.schedule))
        modules = {timestep: tuple(injection.shares(sites)) for timestep, injection in injections.items()}
        inversion = SourceInversion(backbone, context.unconditional(), levels, self.corrections, modules)
        digest = hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
        key = ("inverted", digest, backbone.fingerprint, tuple(pixels.shape), levels, self.corrections)
        return inversion.run(lambda: backbone.encode(pixels), key, context.cache, context.progress)

    def start(self, trajectory: Trajectory, placement: Placement, context: Context) -> Tensor:
        """The content's z_T, in each region that acts first ``start_adain`` of the way to the statistics of its style's
        z_T, and ``start_mix`` of the way to that itself.
        """
        start = x = trajectory.noisiest
        shares = placement.shares((start.shape[2], start.shape[3]), placement.acting(0.0)).to(start)
        for region, share in zip(placement.regions, shares, strict=True):
            style = LoraStyle.of(region.style)
            moments = style.start_moments(trajectory.levels.abars[-1])
            styled = start if moments is None else with_moments(start, moments.to(start), self.start_adain)
            if self.start_mix:
                styled = mixed_noise(styled, self.style_start(style, trajectory, context), self.start_mix)
            x = x + share * (styled - start)
        return x

    def style_start(self, style: LoraStyle, trajectory: Trajectory, context: Context) -> Tensor:
        """The style picture's own z_T, at the content's size."""
        backbone, picture, levels = context.backbone, style.needed_picture(), trajectory.levels
        height, width = (side * backbone.factor for side in trajectory.noisiest.shape[2:])

        def invert_style() -> Tensor:
            latents = backbone.encode(image_to_pixels(covering(picture, (width, height))))
            predict = without_adapters(backbone, context.unconditional())
            return invert(predict, latents, levels, self.corrections, context.progress).noisiest

        key = ("style start", style.identity, (width, height), levels, self.corrections)
        return context.cache.get_or_compute_tensor(key, invert_style).to(backbone.device)

    def denoised(
        self, x: Tensor, source: SourceFeatures, trajectory: Trajectory, placement: Placement, context: Context
    ) -> Tensor:
        """DDIM over the regions' mean noise; what no region covers goes the content's own way back (section 5)."""
        backbone, timesteps = context.backbone, trajectory.levels.timesteps[::-1]
        regions = regions_of_steps(placement, x, timesteps)
        styles = [LoraStyle.of(region.style) for region in placement.regions]
        content = trajectory.latents[-2::-1]  # at the end of each step, the noisiest first

        def paste(index: int, stepped: Tensor) -> Tensor:
            return regions[timesteps[index]].paste(held(stepped, content[index], self.hold), content[index])

        sampler = make_sampler("ddim", backbone.schedule, Run(self.steps, len(timesteps)))
        predict = self.regional_noise(styles, regions, source, context)
        network = denoising_network(backbone)
        with attached(network, {f"region{index}": style.adapter for index, style in enumerate(styles)}):
            return denoise(predict, x, sampler, after_step=paste, progress=context.progress)

    @contextmanager
    def tile_predictors(self, content: WorkingPicture, levels: Levels, context: Context) -> Iterator[list[Predict]]:
        """The prediction under each region's LoRA and prompt, without injection: the composition holds the content."""
        backbone, regions = context.backbone, content.placement.regions
        network = denoising_network(backbone)
        styles = [LoraStyle.of(region.style) for region in regions]

        def under_lora(index: int, style: LoraStyle) -> Predict:
            predict = conditional(backbone, style.conditioning(self.prompt, backbone))

            def predict_under_lora(latents: Tensor, timestep: int) -> Prediction:
                with using(network, f"region{index}"):
                    return predict(latents, timestep)

            return predict_under_lora

        with attached(network, {f"region{index}": style.adapter for index, style in enumerate(styles)}):
            yield [under_lora(index, style) for index, style in enumerate(styles)]

    def regional_noise(
        self,
        styles: Sequence[LoraStyle],
        regions: Mapping[int, StepRegions],
        source: SourceFeatures,
        context: Context,
    ) -> Predict:
        """The noise composed of each acting region's own, under its LoRA and its prompt, and where the span of all is
        over (or not yet begun) the base model's under the empty prompt; the source is injected in each. The ``regions``
        by timestep.
        """
        backbone, grid = context.backbone, next(iter(regions.values())).shares.shape[2:]
        network, sites = denoising_network(backbone), InjectionSites.of(backbone, (grid[0], grid[1]))
        injections = self.schedule.over(tuple(regions), len(backbone.schedule))
        base = conditional(backbone, context.unconditional())
        negative = backbone.encode_prompt([self.negative_prompt])
        scaling = GuidanceScaling.parse(self.guidance_scaling)
        predicts = [
            classifier_free(backbone, style.conditioning(self.prompt, backbone), negative, self.guidance_scale, scaling)
            for style in styles
        ]

        def predict(latents: Tensor, timestep: int) -> Prediction:
            changes = injections[timestep].changes(sites, source.recording(timestep))

            def noise_of(region: int) -> Tensor:
                with using(network, f"region{region}"), changed(network, changes):
                    return predicts[region](latents, timestep).noise

            def base_noise() -> Tensor:
                with changed(network, changes):
                    return base(latents, timestep).noise

            return Prediction(regions[timestep].compose(latents, noise_of, base_noise))

        return predict


def _psnr(pixels: Tensor, reference: Tensor) -> float:
    """PSNR in dB of pixels in [-1, 1]."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(pixels, reference, data_range=2.0))
