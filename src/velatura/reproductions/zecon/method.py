"""ZeCon as published (Yang et al. 2023, public repository YSerin/ZeCon): its sampling, its losses, their raw weights.

Kept as it is there: the inverted latent used as noise a second time, the neighbouring index that guidance works at,
fresh noise for the content in each loss, one generator for all noise and warps, and with DDPM the x0 of before the last
guidance as the result. Noise, positions and warps are drawn from the seed as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from velatura.errors import ModelError, SettingError
from velatura.losses import check_losses
from velatura.methods.base import Method, RunResult, Size, WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.guided.fitting import fit_guided
from velatura.methods.validation import Choices, Range, Share, Steps
from velatura.models.adm.backbone import PixelBackbone
from velatura.models.backbone import Backbone
from velatura.models.noise_schedule import steps_of_strength
from velatura.picture import Picture
from velatura.progress import Progress
from velatura.reproductions.zecon.ancestral import AncestralSchedule
from velatura.reproductions.zecon.losses import PUBLISHED_LOSSES, Views
from velatura.reproductions.zecon.sampling import Guidance, ddim_step, ddpm_step, invert
from velatura.reproductions.zecon.targets import zecon_objective
from velatura.style import Style

README_WEIGHTS: Mapping[str, float] = {
    "clip_patch": 10000.0,
    "clip_dir_patch": 20000.0,
    "zecon": 500.0,
    "mse_rgb": 5000.0,
    "vgg_shallow": 100.0,
    "range": 50.0,
}
PatchArea = Annotated[float, Range(0, 1, open=True)]


@dataclass(frozen=True)
class ZeConOriginal(Method):
    """ZeCon's program on an ADM.

    ``steps`` is the number of levels of the respaced schedule.
    ``strength`` (0..1) is the share of them that is run, the last ones.
    ``start`` is the content noised by its own DDIM inversion ("inversion") or by drawn noise ("noise").
    ``sampler`` is "ddpm", with the learned variance, or "ddim".
    ``eta`` (0..1) is how much fresh noise the sampler "ddim" mixes in.
    ``weights`` are those of its losses, by default its README's.
    ``views`` is how many copies its CLIP losses look at.
    ``patch_area_min`` (above 0, up to 1) is the least share of the picture that a patch is.
    ``patch_area_max`` (above 0, up to 1) is the largest.
    """

    as_published: ClassVar[bool] = True
    name: ClassVar[str] = "zecon-original"
    style_method: ClassVar[str] = "guided"
    text_styles: ClassVar[bool] = True

    steps: Steps = 50
    strength: Share = 0.5
    start: Annotated[str, Choices(("inversion", "noise"))] = "inversion"
    sampler: Annotated[str, Choices(("ddpm", "ddim"))] = "ddpm"
    eta: Share = 0.0
    views: Annotated[int, Range(1, 1024)] = Views.count
    patch_area_min: PatchArea = Views.area[0]
    patch_area_max: PatchArea = Views.area[1]
    weights: Mapping[str, float] = field(default_factory=lambda: dict(README_WEIGHTS))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta and self.sampler != "ddim":
            raise SettingError(f"eta is a setting of the ddim sampler, not of {self.sampler}.")
        if self.patch_area_min > self.patch_area_max:
            raise SettingError(
                "patch_area_min must not be more than patch_area_max, not "
                f"{self.patch_area_min:g} and {self.patch_area_max:g}."
            )
        check_losses(self.weights, {})
        foreign = [name for name, weight in self.weights.items() if weight and name not in PUBLISHED_LOSSES]
        if foreign:
            raise SettingError(f"ZeCon has no loss {', '.join(foreign)}: use {', '.join(PUBLISHED_LOSSES)}.")

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError unless the model is an ADM."""
        if not isinstance(backbone, PixelBackbone):
            raise ModelError(f"The method {self.name} needs an ADM: give one with --model.")

    def fit(
        self,
        picture: Picture,
        name: str,
        context: RunContext[Backbone],
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """The fit of ``guided``, whose styles this method takes."""
        return fit_guided(picture, name, context, mask=mask)

    def working_size(self, size: Size, backbone: Backbone) -> Size:
        """The model's own square: pictures are squashed."""
        return backbone.native_size, backbone.native_size

    @torch.no_grad()
    def _run(self, contents: Sequence[WorkingPicture], context: RunContext[PixelBackbone]) -> list[RunResult]:
        return [self._stylize_one(content, context) for content in contents]

    def _stylize_one(self, content: WorkingPicture, context: RunContext[PixelBackbone]) -> RunResult:
        backbone, generator = context.backbone, context.generator()
        pixels = content.pixels().to(context.device)
        style = content.placement.regions[0].style
        views = Views(self.views, (self.patch_area_min, self.patch_area_max))
        objective, image_encoder = zecon_objective(style, pixels, self.weights, views, generator, context)
        schedule = AncestralSchedule.of(str(self.steps), backbone.shape.schedule)
        guidance = Guidance(backbone, schedule, objective, pixels, generator)
        x0, values = self._sample(guidance, context.progress)
        described = {"features": objective.trunk.source, "image_encoder": image_encoder}
        return RunResult(x0, {}, values, described)

    def _sample(self, guidance: Guidance, progress: Progress) -> tuple[Tensor, dict[str, float]]:
        """The last x0 (1, 3, H, W), and the losses' last values."""
        run = steps_of_strength(self.steps, self.strength)
        x0, values = guidance.content, dict[str, float]()
        if not run:
            return x0, values
        x = self._start_latents(guidance, run)
        for index in progress.track(range(run)[::-1], "denoising"):
            if self.sampler == "ddpm":
                x, x0, values = ddpm_step(guidance, x, index)
            else:
                x, x0, values = ddim_step(guidance, x, index, self.eta)
            progress.note(**values)
        return x0, values

    def _start_latents(self, guidance: Guidance, run: int) -> Tensor:
        """x_t of the first step.

        DDIM starts from the inverted latent itself; DDPM from the content that has it for its noise. Instead of an
        inversion both noise the content by drawn noise.
        """
        if self.start == "inversion":
            noise = invert(guidance, run)
            if self.sampler == "ddim":
                return noise
        else:
            noise = guidance.noise()
            if self.sampler == "ddpm":
                noise = guidance.noise()  # the program draws twice and uses the second
        return guidance.schedule.add_noise(guidance.content, noise, run - 1)
