"""StyleID: style injection into self-attention, without training (Chung, Hyun & Heo, CVPR 2024, arXiv 2312.09008).

Content and style are inverted under the empty prompt. While the content is denoised again, the decoder's later
self-attentions take keys and values from the style's inversion and most of their queries from the content's. In a
transformer it is the image tokens of the later joint attentions that do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from PIL import Image, ImageOps
from torch import Tensor

from velatura.diffusion.attention_control import (
    AttentionLayer,
    Change,
    Recording,
    at_temperature,
    changed,
    decoder_self_attentions,
)
from velatura.diffusion.denoising import denoise
from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import Predict
from velatura.diffusion.joint_attention import later_attentions
from velatura.diffusion.latents import adain
from velatura.diffusion.samplers import Run, make_sampler
from velatura.diffusion.source_features import RecordedSource, SourceInversion
from velatura.errors import ModelError, SettingError, StyleError
from velatura.methods.base import RunResult, WorkingPicture
from velatura.methods.context import RunContext
from velatura.methods.cost import Cost
from velatura.methods.fitting import fit_card
from velatura.methods.latent_regions import StepRegions, regions_of_steps
from velatura.methods.region_borders import with_sharp_borders
from velatura.methods.regional import RegionalMethod
from velatura.methods.shared_settings import FULL
from velatura.methods.tiling.autoencoding import cells_of
from velatura.methods.validation import Corrections, Range, Share, Side, Steps
from velatura.models.backbone import Backbone, HasTransformer, HasUNet, Prediction, denoising_network
from velatura.models.noise_schedule import Levels, steps_of_strength
from velatura.picture import Picture, image_to_pixels, plan_size
from velatura.regions import Placement
from velatura.style import Style
from velatura.style.masked import only_inside
from velatura.style.pictures import kept_image, picture_tensor, pictures_of

Context = RunContext[Backbone]


def injected_layers(backbone: Backbone, grid: tuple[int, int]) -> list[AttentionLayer]:
    """The attentions that the style goes into, for latents of (height, width) cells; none on a model without any.

    In a UNet the decoder's self-attentions but those of the coarsest level that has any (unless it is the only one):
    layers 6 to 11 of Stable Diffusion's decoder. In a transformer, which has no decoder, those of the later two thirds
    of its blocks, as many of all as these are: in FLUX.1 the single-stream blocks.
    """
    if isinstance(backbone, HasTransformer):
        return [*later_attentions(backbone, grid)]
    if not isinstance(backbone, HasUNet):
        return []
    levels = list(decoder_self_attentions(backbone.unet).values())
    return [layer for level in levels[1:] or levels for layer in level]


@dataclass(frozen=True)
class StyleID(RegionalMethod):
    """The method; its settings are the paper's.

    ``steps`` is how many steps the whole way from noise to picture would have; more are finer and take longer.
    ``strength`` (0..1) is the share of the ``steps`` that is inverted and denoised again. ``gamma`` (0..1) is the
    content's share of the queries. ``temperature`` (over 0) multiplies q k^T. ``adain`` (0..1) is how far the start
    latents take the channel statistics of the style's. ``corrections`` are fixed-point iterations of each inversion
    step. ``size`` is the working length of the short side in pixels (0: the model's native size).
    What the inversions record is held in main memory, up to 4 GiB each (on Stable Diffusion at 512 px about 70 MB a
    step in fp32); what is more is made again by a pass of its own.
    Raises SettingError for values out of range.
    """

    name: ClassVar[str] = "styleid"
    style_method: ClassVar[str] = "styleid"

    steps: Steps = 50
    strength: Share = 1.0
    gamma: Share = 0.75
    temperature: Annotated[float, Range(0, 100, open=True)] = 1.5
    corrections: Corrections = 0
    adain: Share = 1.0
    size: Side = 0

    @property
    def inverts(self) -> bool:
        """Always: photo and style are inverted."""
        return True

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError for a model without attention to go into, SettingError for a transformer at full size."""
        if not injected_layers(backbone, (1, 1)):
            raise ModelError(
                f"The model {backbone.name} has no UNet or transformer with self-attention, which --method {self.name} "
                "needs: use another model, or --method guided."
            )
        if self.resolution == FULL and isinstance(backbone, HasTransformer):
            raise SettingError(
                f"The method {self.name} paints at the photo's full size on UNets only: leave out --size full."
            )

    def fit(
        self,
        picture: Picture,
        name: str,
        context: RunContext[Backbone],
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """Keep the style picture, of which only what is white in ``mask`` counts; there is nothing to learn.

        Raises StyleError for a mask that is black everywhere.
        """
        backbone = context.backbone
        tensors = {"picture.00": picture_tensor(kept_image(only_inside(picture, mask)))}
        card = fit_card(picture, self.fit_settings, [], "nothing to fit", Cost(context.backbone))
        return Style(name, self.style_method, backbone.name, backbone.fingerprint, tensors, card)

    @torch.no_grad()
    def _run(self, contents: Sequence[WorkingPicture], context: Context) -> list[RunResult]:
        return [RunResult(self.pixels(content, context)) for content in contents]

    def pixels(self, content: WorkingPicture, context: Context) -> Tensor:
        """The stylised picture (1, 3, H, W)."""
        decoded = context.backbone.decode(self.latents(content, context))
        start = content.pixels().to(decoded)
        return with_sharp_borders(decoded, start, content.placement, context.backbone.factor)

    def latents(self, content: WorkingPicture, context: Context) -> Tensor:
        """The stylised latents (1, C, h, w): invert content and styles, exchange statistics, denoise."""
        backbone, placement = context.backbone, content.placement
        layers = injected_layers(backbone, cells_of(content.size, backbone))
        levels = backbone.schedule.ddim_levels(self.steps).up_to(steps_of_strength(self.steps, self.strength))
        queries = self.inversion([layer.queries for layer in layers], levels, context)
        source = self.recorded(queries, ("inverted", content.picture.digest), content.pixels, context)
        if not len(levels) or not placement.union().any():
            return source.trajectory.latents[0]
        keys_and_values = [name for layer in layers for name in (layer.keys, layer.values)]
        inversion = self.inversion(keys_and_values, levels, context)
        styles = [self.style_source(region.style, inversion, content, context) for region in placement.regions]
        return self.denoised(source, styles, placement, context)

    def inversion(self, modules: Sequence[str], levels: Levels, context: Context) -> SourceInversion:
        """The inversion under the empty prompt that records ``modules`` at each step."""
        recorded = dict.fromkeys(levels.timesteps, modules)
        return SourceInversion(context.backbone, context.unconditional(), levels, self.corrections, recorded)

    def recorded(
        self, inversion: SourceInversion, name: tuple[str, str], pixels: Callable[[], Tensor], context: Context
    ) -> RecordedSource:
        """The inversion of ``pixels`` (1, 3, H, W), kept under their ``name`` and size."""
        backbone, shape = context.backbone, tuple(pixels().shape)
        key = (*name, backbone.fingerprint, shape, inversion.levels, self.corrections)
        return inversion.run(lambda: backbone.encode(pixels()), key, context.cache, context.progress)

    def style_source(
        self, style: Style, inversion: SourceInversion, content: WorkingPicture, context: Context
    ) -> RecordedSource:
        """The inversion of a style's picture, with the content's short side, for a transformer cut to its shape. Raises
        StyleError without a picture.
        """
        pictures = pictures_of(style)
        if not pictures:
            raise StyleError(f"The style '{style.name}' has no picture with it: fit it again.")
        image: Image.Image = pictures[0][0]
        size = plan_size(image.size, min(content.size), context.backbone.multiple).working
        if isinstance(context.backbone, HasTransformer):  # whose image tokens have places: as many, at the same ones
            size = content.size
            image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
        return self.recorded(inversion, ("style", style.identity), lambda: image_to_pixels(image, size), context)

    def denoised(
        self, content: RecordedSource, styles: Sequence[RecordedSource], placement: Placement, context: Context
    ) -> Tensor:
        """DDIM from the content's z_T in the styles' statistics; what no region covers goes the content's own way."""
        backbone, trajectory = context.backbone, content.trajectory
        timesteps = trajectory.levels.timesteps[::-1]
        regions = regions_of_steps(placement, trajectory.noisiest, timesteps)
        content_latents = trajectory.latents[-2::-1]  # at the end of each step, the noisiest first

        def paste(index: int, stepped: Tensor) -> Tensor:
            return regions[timesteps[index]].paste(stepped, content_latents[index])

        sampler = make_sampler("ddim", backbone.schedule, Run(self.steps, len(timesteps)))
        predict = self.injected_noise(content, styles, regions, context)
        x = self.start(content, styles, placement)
        return denoise(predict, x, sampler, after_step=paste, progress=context.progress)

    def start(self, content: RecordedSource, styles: Sequence[RecordedSource], placement: Placement) -> Tensor:
        """z_T of the content, in each region that acts first with the channel statistics of its style's z_T (eq. 8)."""
        start = x = content.trajectory.noisiest
        shares = placement.shares((start.shape[2], start.shape[3]), placement.acting(0.0)).to(start)
        for style, share in zip(styles, shares, strict=True):
            x = x + share * (adain(start, style.trajectory.noisiest, self.adain) - start)
        return x

    def injected_noise(
        self,
        content: RecordedSource,
        styles: Sequence[RecordedSource],
        regions: Mapping[int, StepRegions],
        context: Context,
    ) -> Predict:
        """The noise composed of each acting region's own, with its style injected, and where the span of all is over
        (or not yet begun) the model's own; the ``regions`` by timestep.
        """
        network, noisiest = denoising_network(context.backbone), content.trajectory.noisiest
        layers = injected_layers(context.backbone, (noisiest.shape[2], noisiest.shape[3]))
        plain = conditional(context.backbone, context.unconditional())

        def predict(latents: Tensor, timestep: int) -> Prediction:
            queries = content.recording(timestep)

            def noise_of(region: int) -> Tensor:
                with changed(network, self.injection(layers, queries, styles[region].recording(timestep))):
                    return plain(latents, timestep).noise

            def base_noise() -> Tensor:
                return plain(latents, timestep).noise

            return Prediction(regions[timestep].compose(latents, noise_of, base_noise))

        return predict

    @contextmanager
    def tile_predictors(self, content: WorkingPicture, levels: Levels, context: Context) -> Iterator[list[Predict]]:
        """Each region's style injected; the queries are the tile's own, which has no recording of the content."""
        network = denoising_network(context.backbone)
        layers = injected_layers(context.backbone, cells_of(content.size, context.backbone))
        inversion = self.inversion([name for layer in layers for name in (layer.keys, layer.values)], levels, context)
        styles = [self.style_source(region.style, inversion, content, context) for region in content.placement.regions]
        plain = conditional(context.backbone, context.unconditional())

        def injected(style: RecordedSource) -> Predict:
            changes = {t: self.injection(layers, {}, style.recording(t)) for t in levels.timesteps}

            def predict(latents: Tensor, timestep: int) -> Prediction:
                with changed(network, changes[timestep]):
                    return plain(latents, timestep)

            return predict

        yield [injected(style) for style in styles]

    def injection(self, layers: Sequence[AttentionLayer], content: Recording, style: Recording) -> dict[str, Change]:
        """Attention(temperature Q', K_style, V_style) with Q' = gamma Q_content + (1 - gamma) Q (eqs. 5 to 7); with Q
        itself where no ``content`` is recorded.
        """
        changes: dict[str, Change] = {}
        for layer in layers:
            blended = _blend(layer, layer.queries, content, self.gamma) if content else None
            changes[layer.queries] = layer.changing_image(layer.queries, at_temperature(self.temperature, blended))
            for module in (layer.keys, layer.values):
                changes[module] = layer.changing_image(module, _blend(layer, module, style, 1.0))
        return changes


def _blend(layer: AttentionLayer, module: str, recording: Recording, share: float) -> Change:
    """The change of a picture's tokens that takes ``share`` of those in a ``recording``."""
    return partial(_blended, source=layer.image_part(module, recording[module]), share=share)


def _blended(own: Tensor, source: Tensor, share: float) -> Tensor:
    source = source.to(own).expand(len(own), *source.shape[1:])
    return source if share == 1 else torch.lerp(own, source, share)
