"""Loss-guided diffusion: content and style losses steer a frozen model while it denoises.

After the poster "Image-Guided Image Style Transfer with Diffusion model" and ZeCon (Yang et al. 2023), on any model:
the losses compare decode(x0_hat) (Bansal et al. 2023, arXiv 2302.07121).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from velatura.diffusion.denoising import DenoisingStep, denoise, unsteered
from velatura.diffusion.guidance import classifier_free, composed, conditional
from velatura.diffusion.guidance_scaling import PLAIN, GuidanceScaling
from velatura.diffusion.inversion import Predict
from velatura.diffusion.samplers import Run, Sampler, learned_variance_sampler, make_sampler
from velatura.losses.detail import local_detail
from velatura.methods.base import RunResult, WorkingPicture
from velatura.methods.colours import FINAL_SHARE, recoloured
from velatura.methods.context import RunContext
from velatura.methods.guided.acting import check_style_acts, note_once
from velatura.methods.guided.contrast import with_style_contrast
from velatura.methods.guided.fitting import fit_guided
from velatura.methods.guided.flat_places import flatness
from velatura.methods.guided.latents import GuidedLatents
from velatura.methods.guided.loss_record import LossRecord
from velatura.methods.guided.mixing import GuidedMix
from velatura.methods.guided.objectives import EncodedContent, LossSettings, RegionObjective, region_objective
from velatura.methods.guided.presets import PRESETS
from velatura.methods.guided.settings import GuidedSettings
from velatura.methods.guided.sizing import usual_size
from velatura.methods.guided.starts import check_start, start_described, start_latents, with_start
from velatura.methods.guided.steering import (
    GRADIENT_SCALES,
    GRADIENTS,
    LOSS_INPUTS,
    Steering,
    Traced,
    at_resolution,
    recomputed,
)
from velatura.methods.latent_grid import kept_grid_channels
from velatura.methods.latent_regions import StepRegions, regions_of_steps
from velatura.methods.recommendations import with_recommended
from velatura.methods.region_borders import with_sharp_borders
from velatura.models.adm.backbone import PixelBackbone
from velatura.models.backbone import PLACEHOLDER, Backbone, Conditioning, Prediction, TextConditioned
from velatura.models.noise_schedule import Levels
from velatura.models.recommended import for_method
from velatura.picture import Picture
from velatura.picture.sizing import MIN_SIDE
from velatura.regions import Placement, Region
from velatura.style import Style
from velatura.style.mixing import mixed_style


@dataclass(frozen=True)
class Guided(GuidedSettings):
    """Loss-guided diffusion; its settings are those of ``GuidedSettings``."""

    name: ClassVar[str] = "guided"
    style_method: ClassVar[str] = "guided"
    text_styles: ClassVar[bool] = True
    mixes: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    bytes_per_pixel: ClassVar[int] = 1500  # measured: 1544 at 768 px; gradient=unet takes half as much again

    def resolved(self, backbone: Backbone, styles: Sequence[Style] = ()) -> Guided:
        """With the model's guidance and start, and a gradient scale for its kind where it was left to that ("auto")."""
        advice = for_method(self.name, backbone.recommended_settings)
        guided = with_recommended(self, {"guidance_scaling": PLAIN}, advice)
        method = with_start(guided, styles, backbone, advice)
        if self.gradient_scale != "auto":
            return method
        if backbone.factor == 1:
            return replace(method, gradient_scale="raw")
        note_once(
            "These weights are made for a model of pixels: on a latent one they set the ratios only, and guidance_rms "
            "the strength (gradient_scale=rms)."
        )
        return replace(method, gradient_scale="rms")

    def mix(self, styles: Sequence[tuple[Style, float]]) -> Style:
        """One style whose targets, statistics and words are weighted sums of those of several."""
        return mixed_style(styles)

    def _check_regions(self, regions: Sequence[Region], backbone: Backbone) -> None:
        super()._check_regions(regions, backbone)
        for region in regions:
            check_style_acts(self, region.style, backbone)
        check_start(self, [region.style for region in regions], backbone)

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError for a start that the model cannot paint."""
        check_start(self, [], backbone)

    def fit(
        self,
        picture: Picture,
        name: str,
        context: RunContext[Backbone],
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """The picture's statistics and its word; a moment's work, so ``checkpoint`` is not used.

        Raises StyleError for a mask that is black everywhere.
        """
        return fit_guided(picture, name, context, self.size, mask)

    def working_size(self, size: tuple[int, int], backbone: Backbone) -> tuple[int, int]:
        """The size (width, height) at which a content of ``size`` is worked on."""
        return usual_size(size, self.size, backbone)

    def _run(self, contents: Sequence[WorkingPicture], context: RunContext[Backbone]) -> list[RunResult]:
        return [self._stylized(content, context) for content in contents]

    def _stylized(self, content: WorkingPicture, context: RunContext[Backbone]) -> RunResult:
        """What is painted, decoded, with the detail that the autoencoder lost of the start put back."""
        backbone, placement, share = context.backbone, content.placement, self._colour_share
        made = self.painted(content, context)
        with torch.no_grad():
            lost = share * self.sharpness * (made.start - backbone.decode(made.start_latents))
            decoded = backbone.decode(made.latents) + lost
            # Measured from the start: against the photo, what the losses gained of the style's palette would be undone.
            decoded = recoloured(decoded, made.start, placement, FINAL_SHARE * share * self.palette)
            decoded = with_sharp_borders(decoded, made.start, placement, backbone.factor)
        made.losses.warn(content.picture.name)
        described = {**made.described(), **start_described(self, backbone)}
        return RunResult(decoded, scores=made.losses.last, manifest=described)

    def painted(self, content: WorkingPicture, context: RunContext[Backbone]) -> GuidedLatents:
        """x_T by inversion or noise of the content in the style's contrast and colours, denoised under each region's
        losses and word.
        """
        backbone, placement, share = context.backbone, content.placement, self._colour_share
        with torch.no_grad():
            original = content.pixels().to(context.device)
            pixels = with_style_contrast(original, placement, share * self.contrast)
            pixels = recoloured(pixels, original, placement, share * self.palette)
            latents = backbone.encode(pixels)
            steps = regions_of_steps(placement, latents, self.run_sampler(context).timesteps)
        seen = self.seen_by_losses(pixels, latents, original)
        objectives = self.objectives_of_steps(seen, placement, steps, context)
        predict = self.predictor_of_steps(placement.regions, steps, backbone)
        with torch.no_grad():
            start = start_latents(latents, placement, self, context)
            result, losses = self.denoised(start, self.steering(predict, objectives, seen, context), context)
        return GuidedLatents(pixels, latents, result, objectives, losses)

    @property
    def _colour_share(self) -> float:
        """Of palette and contrast, and of the detail that is put back: less below strength 0.5."""
        return min(1.0, 2 * self.strength)

    def seen_by_losses(self, pixels: Tensor, latents: Tensor, original: Tensor) -> EncodedContent:
        """The start (1, 3, H, W) and its latents as losses see it, beside the ``original`` content."""
        pixels, original = (at_resolution(each, self.loss_resolution) for each in (pixels, original))
        detail = local_detail(original, self.flat_push) if self.flat_push < 1 else None
        return EncodedContent(pixels, latents, original, detail)

    def denoised(self, start: Tensor, steering: Steering, context: RunContext[Backbone]) -> tuple[Tensor, LossRecord]:
        """x_0 of the run from ``start``, and the losses' values."""
        steers = self.guidance_rms > 0 and any(region.objective.terms for region in steering.objectives)
        losses = LossRecord()

        def steer(step: DenoisingStep) -> DenoisingStep:
            steered, found = GRADIENTS[self.gradient](steering, step)
            losses.add(found)
            context.progress.note(**found)
            return steered

        result = denoise(
            steering.predict if steers and self.gradient == "unet" else steering.predict.predict,
            start,
            self.run_sampler(context),
            steer=steer if steers else unsteered,
            progress=context.progress,
        )
        return result, losses

    def steering(
        self,
        predict: Predict,
        objectives: Sequence[RegionObjective],
        content: EncodedContent,
        context: RunContext[Backbone],
    ) -> Steering:
        """What moves the steps of a content."""
        latents, detail = content.latents, content.detail if context.backbone.factor > 1 else None
        return Steering(
            context.backbone,
            Traced(recomputed(predict) if self.activations == "recomputed" else predict),
            objectives,
            latents,
            LOSS_INPUTS[self.loss_input],
            GRADIENT_SCALES[self.gradient_scale],
            self.guidance_rms,
            self.gradient_steps,
            self.loss_resolution,
            kept_grid_channels(latents, context) if self.gradient_scale == "rms" else None,
            None if detail is None else flatness(detail, latents),
        )

    def objectives(
        self, content: EncodedContent, regions: Sequence[Region], shares: Tensor, context: RunContext[Backbone]
    ) -> list[RegionObjective]:
        """Each region's losses, by its share (K, 1, h, w) of the latents."""
        short = min(content.latents.shape[2:]) * context.backbone.factor
        side = max(MIN_SIDE, round(self.crop * short)) if self.crop < 1 else 0
        settings = LossSettings(self.weights, self.spans, side)
        return [
            region_objective(region, share, content, settings, context)
            for region, share in zip(regions, _region_shares(shares), strict=True)
        ]

    def objectives_of_steps(
        self,
        content: EncodedContent,
        placement: Placement,
        steps: Mapping[int, StepRegions],
        context: RunContext[Backbone],
    ) -> list[RegionObjective]:
        """Each region's losses, by its share of the latents in each of a run's ``steps``, by timestep."""
        height, width = content.latents.shape[2:]
        found = [step.shares for step in steps.values()] or [placement.shares((height, width))]
        most = torch.stack(found).amax(0).to(content.latents)
        objectives = self.objectives(content, placement.regions, most, context)
        return [
            region
            if region.share is None
            else replace(region, shares={timestep: step.shares[number][None] for timestep, step in steps.items()})
            for number, region in enumerate(objectives)
        ]

    def predictor_of_steps(
        self, regions: Sequence[Region], steps: Mapping[int, StepRegions], backbone: Backbone
    ) -> Predict:
        """``predictor`` of the regions that act in each of a run's ``steps``, by timestep; the model's own prediction
        where none does.
        """
        by_acting = {step.acting: step for step in steps.values()}
        predicts = {
            acting: self.predictor([regions[index] for index in acting], step.shares[list(acting)], backbone)
            for acting, step in by_acting.items()
        }

        def predict(latents: Tensor, timestep: int) -> Prediction:
            return predicts[steps[timestep].acting](latents, timestep)

        return predict

    def predictor(self, regions: Sequence[Region], shares: Tensor, backbone: Backbone) -> Predict:
        """Classifier-free guidance by each region's prompt in its share (K, 1, h, w) of the latents."""
        unconditional = self._encoded(self.negative_prompt, backbone)
        scaling = GuidanceScaling.parse(self.guidance_scaling)
        conditionings = [self.conditioning(region.style, backbone) for region in regions]
        if len(regions) == 1 and _region_shares(shares)[0] is None:
            return classifier_free(backbone, conditionings[0], unconditional, self.guidance_scale, scaling)
        return composed(backbone, conditionings, shares, unconditional, self.guidance_scale, scaling)

    @contextmanager
    def tile_predictors(
        self, content: WorkingPicture, levels: Levels, context: RunContext[Backbone]
    ) -> Iterator[list[Predict]]:
        """The prediction under each region's prompt, without losses: the composition has what they asked for."""
        backbone, regions = context.backbone, content.placement.regions
        yield [conditional(backbone, self.conditioning(region.style, backbone)) for region in regions]

    def conditioning(self, style: Style, backbone: Backbone) -> Conditioning:
        """The prompt, with the style's word or text for "*"; the empty prompt where the style has neither for it."""
        if PLACEHOLDER not in self.prompt:
            return self._encoded(self.prompt, backbone)
        return GuidedMix.of(style).conditioning(self.prompt, backbone)

    def _encoded(self, prompt: str, backbone: Backbone) -> Conditioning:
        """A prompt's conditioning; a model without prompts has its unconditional one alone."""
        if not isinstance(backbone, TextConditioned):
            return backbone.unconditional()
        return backbone.encode_prompt([prompt])

    def run_sampler(self, context: RunContext[Backbone]) -> Sampler:
        """The sampler of the run; "ddpm" on an ADM takes the variance that the network has learned."""
        run = Run(self.steps, self.run_steps, self.eta, context.generator(1))
        schedule = context.backbone.schedule
        if self.sampler == "ddpm" and isinstance(context.backbone, PixelBackbone):
            return learned_variance_sampler(schedule, run)
        return make_sampler(self.sampler, schedule, run)


def _region_shares(shares: Tensor) -> list[Tensor | None]:
    """Each region's share (1, 1, h, w) of the latents; None for one that covers everything."""
    whole = len(shares) == 1 and bool((shares == 1).all())
    return [None] if whole else [share[None] for share in shares]
