"""Loss-guided diffusion: content and style losses steer a frozen model while it denoises.

After the poster "Image-Guided Image Style Transfer with Diffusion model" and ZeCon (Yang et al. 2023), on any model:
the losses look at decode(x0_hat) (Bansal et al. 2023, arXiv 2302.07121).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from velatura.diffusion.guidance import classifier_free, composed
from velatura.diffusion.inversion import Predict
from velatura.diffusion.remembered import remembered_inversion
from velatura.diffusion.sampling import Moment, denoise, unsteered
from velatura.diffusion.schedules import add_noise, ddim_levels, make_sampler, steps_of_strength, with_learned_variance
from velatura.errors import SettingError
from velatura.losses.colour import transport_colours
from velatura.losses.statistics import style_statistics
from velatura.memory import Memory
from velatura.methods.base import Stylization, manifest_of, versions
from velatura.methods.guided.aims import ZECONS, Aim, aim_at, statistics_of
from velatura.methods.guided.published import PublishedRun, check_adm
from velatura.methods.guided.settings import GuidedSettings
from velatura.methods.guided.sizing import usual_sizing
from velatura.methods.guided.steering import LOOKS, SCALES, Steering, Traced, recomputed, within_sight
from velatura.models.backbone import PLACEHOLDER, Backbone, Condition
from velatura.models.perceptual import perceptual_trunk
from velatura.models.pixel import PixelBackbone
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.picture.sizing import MIN_SIDE
from velatura.progress import Progress
from velatura.regions import Region, latent_shares
from velatura.regions.masks import Mask, image_of_mask, over
from velatura.regions.region import described, layered
from velatura.style import Style
from velatura.style.pictures import kept_image, picture_tensor


@dataclass(frozen=True)
class Guided(GuidedSettings):
    """The method; its settings are those of ``GuidedSettings``."""

    name: ClassVar[str] = "guided"
    fits: ClassVar[str] = "guided"

    def fit(
        self,
        picture: Picture,
        backbone: Backbone,
        name: str,
        progress: Progress,
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """Cache the style's statistics and picture and, where the model learned such words, its word.

        It takes a moment, so ``checkpoint`` is not used. Raises SettingError for a ``mask``.
        """
        if mask is not None:
            raise SettingError("guided takes no style mask yet: use --method s2prest, or cut the style picture.")
        working = usual_sizing(picture.size, self.size, backbone).working
        pixels = image_to_pixels(picture.image, working).to(backbone.device)
        trunk = perceptual_trunk(backbone.device, backbone.dtype)
        statistics = style_statistics(pixels, trunk)
        tensors = {f"gram.{layer}": gram for layer, gram in statistics.grams.items()}
        tensors |= {"colour.mean": statistics.colour_mean, "colour.factor": statistics.colour_factor}
        tensors |= {"picture.00": picture_tensor(kept_image(picture.image))}
        word = backbone.style_word(pixels)
        if word is not None:
            tensors["word"] = word
        card = {
            "picture": picture.name,
            "sha256": picture.digest,
            "size": list(picture.size),
            "features": trunk.source,
            "versions": versions(),
        }
        return Style(name, self.name, backbone.name, backbone.fingerprint, tensors, card)

    def stylize(
        self,
        contents: Sequence[Picture],
        regions: Sequence[Region],
        backbone: Backbone,
        seed: int,
        progress: Progress,
        memory: Memory,
    ) -> list[Stylization]:
        """Put the regions' styles on each of the contents; what no region covers stays the content, bit for bit."""
        for region in regions:
            region.style.check(self.name, backbone.fingerprint, backbone.name)
        one = self._published if self.compat else self._stylized
        return [one(content, regions, backbone, seed, progress, memory) for content in contents]

    def _stylized(
        self,
        content: Picture,
        regions: Sequence[Region],
        backbone: Backbone,
        seed: int,
        progress: Progress,
        memory: Memory,
    ) -> Stylization:
        """Invert or noise the content, then denoise it under each region's losses and word."""
        sizing = usual_sizing(content.size, self.size, backbone)
        masks = [region.mask(content) for region in regions]
        pixels = self.recoloured(image_to_pixels(content.image, sizing.working).to(backbone.device), regions, masks)
        with torch.no_grad():
            latents = backbone.encode(pixels)
        shares = latent_shares(masks, (latents.shape[2], latents.shape[3])).to(latents)
        seen = within_sight(pixels, self.sight)
        aims = self.aims(seen, latents, regions, shares, backbone, seed, memory)
        predict = self.predictor(regions, shares, backbone)
        run = steps_of_strength(self.steps, self.strength)
        steering = Steering(
            backbone,
            Traced(recomputed(predict) if self.activations == "recomputed" else predict),
            aims,
            latents,
            LOOKS[self.look],
            SCALES[self.scale],
            self.force,
            self.inner,
            run,
            self.sight,
        )
        move = steering.at_clean if self.gradient == "x0" else steering.through_unet
        values: dict[str, float] = {}

        def steer(moment: Moment) -> Moment:
            steered, measured = move(moment)
            values.update(measured)
            progress.note(**measured)
            return steered

        wanted = any(aim.objective.terms for aim in aims) and self.force > 0
        with torch.no_grad():
            result = denoise(
                steering.predict if wanted and self.gradient == "unet" else predict,
                self.start_latents(latents, backbone, seed, progress, memory),
                self.made_sampler(backbone),
                self.steps,
                run,
                steer=steer if wanted else unsteered,
                generator=torch.Generator().manual_seed(seed + 1),
                eta=self.eta,
                progress=progress,
            )
            decoded = self.recoloured(backbone.decode(result), regions, masks)
        return self.finished(decoded, content, regions, masks, aims, values, backbone, seed, sizing.working)

    def finished(
        self,
        decoded: Tensor,
        content: Picture,
        regions: Sequence[Region],
        masks: Sequence[Mask],
        aims: Sequence[Aim],
        values: Mapping[str, float],
        backbone: Backbone,
        seed: int,
        working: tuple[int, int],
    ) -> Stylization:
        """The picture at the content's size, over the content where regions leave some of it, with its manifest."""
        picture, layers = pixels_to_image(decoded, content.size), {}
        if any(region.query is not None or region.weight < 1 for region in regions):
            picture = over(picture, content.image, np.minimum(1, np.sum(layered(masks), axis=0)))
            layers = {f"mask{index}": image_of_mask(mask) for index, mask in enumerate(masks)}
        settings = {**asdict(self), "weights": dict(self.weights), "spans": dict(self.spans)}
        made = manifest_of(self.name, settings, content, regions[0].style, backbone, seed, working)
        manifest = {
            **made,
            "features": aims[0].objective.trunk.source,
            "image_encoder": aims[0].eyes,  # one model, one encoder, whatever the region
            "regions": described(regions),
        }
        return Stylization(picture, content.alpha, layers, values, manifest)

    def recoloured(self, pixels: Tensor, regions: Sequence[Region], masks: Sequence[Mask]) -> Tensor:
        """A picture (1, 3, H, W) with each region's colours moved towards its style's."""
        share = self.palette * min(1.0, 2 * self.strength)
        covers = [torch.from_numpy(cover)[None, None].to(pixels) for cover in layered(masks)]
        moved = pixels
        for region, cover in zip(regions, covers, strict=True):
            statistics = statistics_of(region.style, pixels.device)
            if share and statistics is not None:
                sized = F.interpolate(cover, pixels.shape[2:], mode="area")
                if not bool(sized.any()):
                    continue
                own = transport_colours(pixels, statistics.colour_mean, statistics.colour_factor, share, sized)
                moved = own if bool((sized == 1).all()) else moved + sized * (own - pixels)
        return moved

    def aims(
        self,
        pixels: Tensor,
        latents: Tensor,
        regions: Sequence[Region],
        shares: Tensor,
        backbone: Backbone,
        seed: int,
        memory: Memory,
    ) -> list[Aim]:
        """What each region's style wants, and where."""
        side = max(MIN_SIDE, round(self.window * min(latents.shape[2:]) * backbone.factor)) if self.window < 1 else 0
        wanted = (self.weights, self.spans, backbone)
        return [
            aim_at(
                region.style,
                pixels,
                latents,
                *wanted,
                torch.Generator().manual_seed(seed),
                memory,
                where,
                region.span,
                window=side,
            )
            for region, where in zip(regions, _parts(shares), strict=True)
        ]

    def predictor(self, regions: Sequence[Region], shares: Tensor, backbone: Backbone) -> Predict:
        """Classifier-free guidance with each region's word, or with the bare prompt where there is none."""
        without = backbone.text([self.negative_prompt])
        conditions = [self.condition(region.style, backbone) for region in regions]
        if len(regions) == 1 and _parts(shares)[0] is None:
            return classifier_free(backbone, conditions[0], without, self.guidance_scale)
        return composed(backbone, conditions, shares, without, self.guidance_scale)

    def condition(self, style: Style, backbone: Backbone) -> Condition:
        """The prompt with the style's word; the empty text where the prompt wants a word and there is none."""
        word = style.tensors.get("word")
        says_word = PLACEHOLDER in self.prompt
        if says_word and word is None:
            return backbone.text([""])
        return backbone.text([self.prompt], word if says_word else None)

    def made_sampler(self, backbone: Backbone) -> Any:
        """The sampler; DDPM on an ADM takes the variance that the network has learned."""
        sampler = make_sampler(self.sampler, backbone.scheduler)
        if self.sampler == "ddpm" and isinstance(backbone, PixelBackbone):
            return with_learned_variance(sampler, backbone.last_variance)
        return sampler

    def start_latents(
        self, latents: Tensor, backbone: Backbone, seed: int, progress: Progress, memory: Memory
    ) -> Tensor:
        """The content at the noise level from which ``strength`` of the steps remain."""
        run = steps_of_strength(self.steps, self.strength)
        if not run:
            return latents
        if self.start == "noise":
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(latents.shape, generator=generator).to(latents.device)
            return add_noise(latents, noise, ddim_levels(backbone.alphas_cumprod, self.steps).up_to(run).abars[-1])
        way = (backbone, latents, backbone.text([""]), self.steps, run)
        return remembered_inversion(*way, self.corrections, memory, progress)

    def _published(
        self,
        content: Picture,
        regions: Sequence[Region],
        backbone: Backbone,
        seed: int,
        progress: Progress,
        memory: Memory,
    ) -> Stylization:
        """ZeCon's own loop (section 1; guided-details 1.3 and 1.4), squashed to the model's square."""
        adm, side = check_adm(backbone), backbone.native_size
        pixels = image_to_pixels(content.image, (side, side)).to(backbone.device)
        draws = torch.Generator().manual_seed(seed)
        aim = aim_at(regions[0].style, pixels, pixels, self.weights, {}, backbone, draws, memory, ways=ZECONS)
        run = PublishedRun(self.steps, self.strength, self.start, self.sampler, self.eta)
        clean, values = run(pixels, aim, adm, draws, progress)
        masks = [region.mask(content) for region in regions]
        return self.finished(clean, content, regions, masks, [aim], values, backbone, seed, (side, side))


def _parts(shares: Tensor) -> list[Tensor | None]:
    """Each region's share (1, 1, h, w); None for the one that is everywhere."""
    whole = len(shares) == 1 and bool((shares == 1).all())
    return [None] if whole else [share[None] for share in shares]
