"""Loss-guided diffusion: content and style losses steer a frozen model while it denoises.

After the poster "Image-Guided Image Style Transfer with Diffusion model" and ZeCon (Yang et al. 2023), on any model:
the losses compare decode(x0_hat) (Bansal et al. 2023, arXiv 2302.07121).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from velatura.diffusion.cached_inversion import InversionSettings, cached_inversion
from velatura.diffusion.denoising import DenoisingStep, denoise, unsteered
from velatura.diffusion.guidance import classifier_free, composed
from velatura.diffusion.inversion import Predict
from velatura.diffusion.samplers import Run, Sampler, learned_variance_sampler, make_sampler
from velatura.methods.base import RunResult, WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.guided.fitting import GuidedStyle, fit_guided
from velatura.methods.guided.objectives import EncodedContent, LossSettings, RegionObjective, region_objective
from velatura.methods.guided.presets import PRESETS
from velatura.methods.guided.recolouring import recoloured
from velatura.methods.guided.settings import GuidedSettings
from velatura.methods.guided.sizing import usual_size
from velatura.methods.guided.steering import (
    GRADIENT_SCALES,
    GRADIENTS,
    LOSS_INPUTS,
    Steering,
    Traced,
    at_resolution,
    recomputed,
)
from velatura.models.adm.backbone import PixelBackbone
from velatura.models.backbone import PLACEHOLDER, Backbone, Conditioning, TextConditioned
from velatura.models.noise_schedule import add_noise
from velatura.picture import Picture
from velatura.picture.sizing import MIN_SIDE
from velatura.regions import Region
from velatura.style import Style


@dataclass(frozen=True)
class Guided(GuidedSettings):
    """Loss-guided diffusion; its settings are those of ``GuidedSettings``."""

    name: ClassVar[str] = "guided"
    style_method: ClassVar[str] = "guided"
    regions: ClassVar[bool] = True
    text_styles: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    def fit(
        self,
        picture: Picture,
        name: str,
        context: RunContext[Backbone],
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """The picture's statistics and its word; a moment's work, so ``checkpoint`` is not used.

        Raises SettingError for a ``mask``.
        """
        return fit_guided(picture, name, context, self.size, mask)

    def working_size(self, size: tuple[int, int], backbone: Backbone) -> tuple[int, int]:
        """The size (width, height) at which a content of ``size`` is worked on."""
        return usual_size(size, self.size, backbone)

    def _run(self, contents: Sequence[WorkingPicture], context: RunContext[Backbone]) -> list[RunResult]:
        return [self._stylized(content, context) for content in contents]

    def _stylized(self, content: WorkingPicture, context: RunContext[Backbone]) -> RunResult:
        """x_T by inversion or noise of the recoloured content, denoised under each region's losses and word."""
        backbone, placement = context.backbone, content.placement
        colour_share = self.palette * min(1.0, 2 * self.strength)
        with torch.no_grad():
            pixels = recoloured(content.pixels().to(context.device), placement, colour_share)
            latents = backbone.encode(pixels)
            shares = placement.shares((latents.shape[2], latents.shape[3])).to(latents)
        seen = EncodedContent(at_resolution(pixels, self.loss_resolution), latents)
        objectives = self.objectives(seen, placement.regions, shares, context)
        predict = self.predictor(placement.regions, shares, backbone)
        with torch.no_grad():
            start = self.start_latents(latents, context)
            result, values = self.denoised(start, self.steering(predict, objectives, latents, backbone), context)
            decoded = recoloured(backbone.decode(result), placement, colour_share)
        trunk, encoder = objectives[0].objective.trunk, objectives[0].encoder_source  # the same for every region
        return RunResult(decoded, scores=values, manifest={"features": trunk.source, "image_encoder": encoder})

    def start_latents(self, latents: Tensor, context: RunContext[Backbone]) -> Tensor:
        """x_t of clean ``latents`` at the level from which the run starts, by DDIM inversion or by fresh noise."""
        if not self.run_steps:
            return latents
        if self.start == "noise":
            levels = context.backbone.schedule.ddim_levels(self.steps).up_to(self.run_steps)
            return add_noise(latents, context.noise(latents.shape), levels.abars[-1])
        settings = InversionSettings(self.steps, self.run_steps, self.corrections)
        unconditional = context.unconditional()
        return cached_inversion(context.backbone, latents, unconditional, settings, context.cache, context.progress)

    def denoised(
        self, start: Tensor, steering: Steering, context: RunContext[Backbone]
    ) -> tuple[Tensor, dict[str, float]]:
        """x_0 of the run from ``start``, and each loss's last value by name."""
        steers = self.guidance_rms > 0 and any(region.objective.terms for region in steering.objectives)
        values: dict[str, float] = {}

        def steer(step: DenoisingStep) -> DenoisingStep:
            steered, found = GRADIENTS[self.gradient](steering, step)
            values.update(found)
            context.progress.note(**found)
            return steered

        result = denoise(
            steering.predict if steers and self.gradient == "unet" else steering.predict.predict,
            start,
            self.run_sampler(context),
            steer=steer if steers else unsteered,
            progress=context.progress,
        )
        return result, values

    def steering(
        self, predict: Predict, objectives: Sequence[RegionObjective], latents: Tensor, backbone: Backbone
    ) -> Steering:
        """What moves the steps of a content with these clean ``latents``."""
        return Steering(
            backbone,
            Traced(recomputed(predict) if self.activations == "recomputed" else predict),
            objectives,
            latents,
            LOSS_INPUTS[self.loss_input],
            GRADIENT_SCALES[self.gradient_scale],
            self.guidance_rms,
            self.gradient_steps,
            self.loss_resolution,
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

    def predictor(self, regions: Sequence[Region], shares: Tensor, backbone: Backbone) -> Predict:
        """Classifier-free guidance by each region's prompt in its share (K, 1, h, w) of the latents."""
        unconditional = self._encoded(self.negative_prompt, backbone)
        conditionings = [self.conditioning(region.style, backbone) for region in regions]
        if len(regions) == 1 and _region_shares(shares)[0] is None:
            return classifier_free(backbone, conditionings[0], unconditional, self.guidance_scale)
        return composed(backbone, conditionings, shares, unconditional, self.guidance_scale)

    def conditioning(self, style: Style, backbone: Backbone) -> Conditioning:
        """The prompt, with the style's word for "*"; the empty prompt where it has a "*" and the style no word."""
        if PLACEHOLDER not in self.prompt:
            return self._encoded(self.prompt, backbone)
        word = GuidedStyle.of(style).word
        return self._encoded(self.prompt if word is not None else "", backbone, word)

    def _encoded(self, prompt: str, backbone: Backbone, word: Tensor | None = None) -> Conditioning:
        """A prompt's conditioning; a model without prompts has its unconditional one alone."""
        if not isinstance(backbone, TextConditioned):
            return backbone.unconditional()
        return backbone.encode_prompt([prompt], word)

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
