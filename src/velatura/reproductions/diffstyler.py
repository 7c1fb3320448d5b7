"""The published program of DiffStyler (lishaoxu1994/DiffStyler, December 2025; spec diffstyler, section 6).

It differs from its paper: the source runs through each UNet, base and LoRA alike; the LoRA does not act in the
attentions that are injected into; masks are hard; where none is, the base UNet's noise stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

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
from velatura.methods.diffstyler.style import (
    STYLE_WORD,
    LoraBackbone,
    LoraStyle,
    check_lora_backbone,
    check_loras,
    encode_style_prompt,
    lora_backbone,
)
from velatura.methods.fitting import fit_settings
from velatura.methods.requirements import require
from velatura.methods.validation import GuidanceScale, Range, Side, Steps
from velatura.models.backbone import Backbone, Conditioning, HasUNet, PictureWords, denoising_network
from velatura.models.lora import attached, using
from velatura.models.noise_schedule import Levels, NoiseSchedule, ddim_step
from velatura.picture import Picture, image_to_pixels, open_picture, plan_size
from velatura.progress import Progress
from velatura.regions import Placement, Region
from velatura.regions.masks import Mask, image_of_mask
from velatura.regions.query import PictureQuery
from velatura.span import WHOLE_RUN
from velatura.style import Style

PUBLISHED_SIZE = 512  # pixels of each side
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


def mask_picture(region: Region, mask: Mask) -> Image.Image:
    """The picture that a region's cells are read from: its mask file as it is, else its ``mask`` at the content's size.

    So that masks are resized once, to the latent grid.
    """
    if not isinstance(region.query, PictureQuery):
        return image_of_mask(mask)
    opened = open_picture(region.query.path)
    return opened.image if opened.alpha is None else opened.alpha


def published_text(prompt: str) -> str:
    """A prompt as transformers' CLIP tokenizer of 2023 read it without the package ftfy: in lower case, without
    accents, and each punctuation mark a word of its own, so that ">," gets two tokens and not one.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    words = BertPreTokenizer().pre_tokenize_str(BertNormalizer(lowercase=True).normalize_str(prompt))
    return " ".join(word for word, _ in words)


def published_conditioning(prompt: str, word: Tensor | None, backbone: LoraBackbone) -> Conditioning:
    """The conditioning of a prompt with the published tokens; where a style has the model's ``word``, with that in the
    place of "<sss>".
    """
    has_word = word is not None and STYLE_WORD in prompt
    return encode_style_prompt(prompt if has_word else published_text(prompt), word, backbone)


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
    unet = denoising_network(backbone)
    sites = injection_sites(unet)
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
    """The published program: squashed to a square, inverted over every timestep, hard masks.

    ``steps`` is the number of DDIM's steps.
    ``guidance_scale`` is that of guidance by the prompt.
    ``negative_prompt`` is what guidance leads away from.
    ``prompt`` guides the run; empty is the prompt that each style was fitted under.
    ``size`` is the square's side in pixels (0: the published 512).
    """

    as_published: ClassVar[bool] = True
    name: ClassVar[str] = "diffstyler-original"
    style_method: ClassVar[str] = STYLE_METHOD
    regions: ClassVar[bool] = True

    fit_rate: Annotated[float, Range(0, 1)] = PUBLISHED_RATE
    steps: Steps = 50
    guidance_scale: GuidanceScale = 10.5
    prompt: str = ""
    negative_prompt: str = NEGATIVE_PROMPT
    size: Side = PUBLISHED_SIZE

    @property
    def fit_settings(self) -> Mapping[str, Any]:
        """The settings that a fit depends on."""
        return fit_settings(self, FitSettings)

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError for a model without UNet or text encoder."""
        require(backbone, HasUNet, self.name, "UNet")
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
        self.check_backbone(context.backbone)
        settings = self
        if not isinstance(context.backbone, PictureWords):
            settings = replace(self, fit_prompt=published_text(self.fit_prompt))
        style = fit_lora(settings, [picture], name, lora_backbone(context, self.name), mask, checkpoint)
        own = {**style.card["settings"], "fit_prompt": self.fit_prompt}
        return replace(style, card={**style.card, "settings": own, "prompt": self.fit_prompt})

    def working_size(self, size: Size, backbone: Backbone) -> Size:
        """The square of ``size``, whatever the content's shape; its sides are multiples of what the model takes."""
        side = self.size or PUBLISHED_SIZE
        return plan_size((side, side), side, backbone.multiple).working

    def place(self, regions: Sequence[Region], content: Picture) -> Placement:
        """The regions' masks in a content."""
        placement = super().place(regions, content)
        return UnpastedPlacement(placement.regions, placement.masks)

    def _check_regions(self, regions: Sequence[Region], backbone: Backbone) -> None:
        super()._check_regions(regions, backbone)
        if any(region.weight != 1 or region.span != WHOLE_RUN for region in regions):
            raise SettingError("The published program knows no weights or spans of regions: use --method diffstyler.")
        check_loras(regions, backbone)

    @torch.no_grad()
    def _run(self, contents: Sequence[WorkingPicture], context: RunContext[LoraBackbone]) -> list[RunResult]:
        return [RunResult(self._pixels(content, context)) for content in contents]

    def _pixels(self, content: WorkingPicture, context: RunContext[LoraBackbone]) -> Tensor:
        backbone, placement = context.backbone, content.placement
        trajectory = self.inverted(content, context)
        grid = (trajectory.noisiest.shape[2], trajectory.noisiest.shape[3])
        cells = [
            cells_of_mask(mask_picture(region, mask), grid)
            for region, mask in zip(placement.regions, placement.masks, strict=True)
        ]
        styles = [LoraStyle.of(region.style) for region in placement.regions]
        regions = [
            PublishedRegion(
                style.adapter, published_conditioning(self.prompt or style.prompt, style.word, backbone), pasted
            )
            for style, pasted in zip(styles, cells, strict=True)
        ]
        negative = published_conditioning(self.negative_prompt, None, backbone)
        run = PublishedRun(context.unconditional(), negative, self.steps, self.guidance_scale)
        z = latents_by_timestep(trajectory)
        return backbone.decode(denoise_published(backbone, z, regions, run, context.progress))

    def inverted(self, content: WorkingPicture, context: RunContext[LoraBackbone]) -> Trajectory:
        """The content's inversion over every timestep."""
        backbone, levels = context.backbone, inversion_levels(context.backbone.schedule)

        def compute() -> Tensor:
            predict = conditional(backbone, context.unconditional())
            resized = content.picture.image.resize(content.size, Image.Resampling.BILINEAR)
            latents = backbone.encode(image_to_pixels(resized))
            return torch.cat(invert(predict, latents, levels, 0, context.progress).latents)

        key = ("published bilinear", content.picture.digest, backbone.fingerprint, content.size)
        stack = context.cache.get_or_compute_tensor(key, compute)
        return Trajectory(levels, torch.split(stack.to(backbone.device), 1))

    def to_image(self, pixels: Tensor, size: Size) -> Image.Image:
        """Pixels (1, 3, H, W), truncated to bytes, as a picture of ``size`` (width, height)."""
        unit = ((pixels + 1) / 2).clamp(0, 1)
        image = Image.fromarray((unit[0].permute(1, 2, 0) * 255).cpu().numpy().astype(np.uint8))
        return image.resize(size, Image.Resampling.LANCZOS)
