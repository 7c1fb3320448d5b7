"""S2PreST: InST's learned word, guided by the content's edges (spec s2prest, sections 2 and 3).

C is the content, K its edge picture, S the style picture; z are latents, e image embeddings, c conditionings; v is the
word map fitted on S, which makes a word of an image embedding.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from velatura.cache import tensor_digest
from velatura.diffusion.cached_inversion import InversionSettings, cached_inversion
from velatura.diffusion.denoising import denoise
from velatura.diffusion.guidance import classifier_free, without_adapters
from velatura.diffusion.guidance_scaling import GuidanceScaling
from velatura.diffusion.inversion import Predict
from velatura.diffusion.latents import adain, near_moments
from velatura.diffusion.samplers import Run, make_sampler, start_level
from velatura.methods.base import RunResult, Size, WorkingPicture
from velatura.methods.colours import recoloured
from velatura.methods.context import RunContext
from velatura.methods.fitting import fit_settings
from velatura.methods.latent_grid import kept_grid_channels, without_grid
from velatura.methods.s2prest.conditioned import Context, check_word_conditioned, word_conditioned
from velatura.methods.s2prest.edges import EDGE_SOURCES, NO_EDGES, edge_picture, edge_weight
from velatura.methods.s2prest.fitting import FitSettings, fit_word
from velatura.methods.s2prest.mixing import mix_styles
from velatura.methods.s2prest.quantities import Conditions, ContentBatch, Entry, Noises, Start, noised_mix
from velatura.methods.s2prest.settings import S2PREST_SHARES, S2PreSTSettings, paper_preset
from velatura.methods.s2prest.style import S2PreSTStyle, StylePart
from velatura.methods.s2prest.tiles import tile_noise
from velatura.models.backbone import PLACEHOLDER, Backbone, Conditioning, Prediction
from velatura.models.noise_schedule import Levels, NoiseSchedule, add_noise, predict_noise, steps_of_strength
from velatura.picture import Picture, image_to_pixels, pixels_to_image
from velatura.picture.tensors import covering
from velatura.span import progress_of
from velatura.style import Style


@dataclass(frozen=True)
class S2PreST(S2PreSTSettings):
    """The method; its settings are those of ``S2PreSTSettings``."""

    name: ClassVar[str] = "s2prest"
    style_method: ClassVar[str] = "s2prest"  # InST shares its styles
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": paper_preset(S2PREST_SHARES)}
    batch: ClassVar[int] = 4
    layout: ClassVar[str] = "paper"
    mixes: ClassVar[bool] = True
    needs_picture_words: ClassVar[bool] = True

    @property
    def fit_settings(self) -> Mapping[str, Any]:
        """The settings that a fit depends on."""
        return fit_settings(self, FitSettings)

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ModelError for a model without text encoder or image encoder."""
        check_word_conditioned(backbone, self.name)

    def fit(
        self,
        picture: Picture,
        name: str,
        context: RunContext[Backbone],
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """Fit the word map v on a style picture, white in ``mask`` where it counts; resumed from ``checkpoint``."""
        tensors, card = fit_word(self, picture, word_conditioned(context, self.name), mask, checkpoint)
        return Style(name, self.style_method, context.backbone.name, context.backbone.fingerprint, tensors, card)

    def mix(self, styles: Sequence[tuple[Style, float]]) -> Style:
        """One style whose words and latent are weighted sums of those of several."""
        return mix_styles(styles)

    @torch.no_grad()
    def _run(self, contents: Sequence[WorkingPicture], context: Context) -> list[RunResult]:
        backbone = context.backbone
        style = S2PreSTStyle.of(contents[0].placement.regions[0].style)
        batch = self.prepare(contents, style, context)
        conditions = self.conditions(batch, style, context)
        entry = self.entry(backbone.schedule)
        latents = batch.z_content
        if entry.run:
            start = self.start(batch, conditions, entry, context)
            latents = self.denoised(start.latents, conditions, entry, context)
            latents = self.final_latents(latents, batch, context)
        return [
            RunResult(backbone.decode(latents[i : i + 1]), self._layers(batch.edges[i : i + 1], content.picture.size))
            for i, content in enumerate(contents)
        ]

    def _layers(self, edges: Tensor, size: Size) -> dict[str, Image.Image]:
        """The edge picture, named by its source."""
        if self.edges == NO_EDGES:
            return {}
        return {self.edges if self.edges in EDGE_SOURCES else "edges": pixels_to_image(edges, size)}

    def prepare(self, contents: Sequence[WorkingPicture], style: S2PreSTStyle, context: Context) -> ContentBatch:
        """z_C, z_K, z_S, e(C) and e(K) of contents of one working size."""
        backbone, (width, height) = context.backbone, contents[0].size
        shape = torch.Size((1, backbone.latent_channels, height // backbone.factor, width // backbone.factor))
        noises = self.draw_noises(shape, context)
        z_style = self._style_latents(style, contents[0].size, noises, context)
        parts = [self._prepare_one(content, z_style, noises, context) for content in contents]
        return ContentBatch(noises, *(torch.cat(same).to(backbone.device) for same in zip(*parts, strict=True)))

    def _prepare_one(
        self, content: WorkingPicture, z_style: Tensor, noises: Noises, context: Context
    ) -> tuple[Tensor, ...]:
        """The tensors of a ``ContentBatch`` for one content, in order; kept for other styles and strengths."""
        picture, key = content.picture, self.cache_key(content.size, context)

        def encode_content() -> tuple[Tensor, Tensor]:
            pixels = self.content_pixels(content)
            return context.backbone.encode(pixels, noises.content_posterior), self.encode_image(pixels, context)

        def encode_edges() -> tuple[Tensor, Tensor, Tensor]:
            image = edge_picture(picture, self.edges, self.edge_threshold)
            pixels = self.working_pixels(image, content.size)
            return context.backbone.encode(pixels, noises.edges_posterior), self.encode_image(pixels, context), pixels

        colours = (self.palette, content.placement.regions[0].style.identity) if self.palette else ()
        z_content, e_content = context.cache.get_or_compute(("content", picture.digest, *colours, *key), encode_content)
        z_edges, e_edges, edges = z_content, e_content, torch.zeros(1, 0)
        if self.edges != NO_EDGES:
            edge_key = ("edges", picture.digest, self.edges, self.edge_threshold, *key)
            z_edges, e_edges, edges = context.cache.get_or_compute(edge_key, encode_edges)
        return adain(z_content, z_style, self.adain), z_edges, z_style, e_content, e_edges, edges

    def content_pixels(self, content: WorkingPicture) -> Tensor:
        """A content (1, 3, H, W) in [-1, 1] at the working size, ``palette`` of the way to its style's colours."""
        pixels = self.working_pixels(content.picture.image, content.size)
        return recoloured(pixels, pixels, content.placement, self.palette)

    def _style_latents(self, style: S2PreSTStyle, size: Size, noises: Noises, context: Context) -> Tensor:
        """z_S (1, C, h, w), of several pictures their weighted sum; zeros where it is not used and there is none."""
        if not style.pictures:
            style.require_picture(style_latent=self.style_latent, adain=self.adain, palette=self.palette)
            style.require_picture(final_adain=self.final_adain)
            return torch.zeros_like(noises.content)

        def encode_style() -> Tensor:
            parts = [
                share * context.backbone.encode(self.style_pixels(image, size), noises.style_posterior)
                for image, share in style.pictures
            ]
            return torch.stack(parts).sum(0)

        key = ("style", style.identity, *self.cache_key(size, context))
        return context.cache.get_or_compute(key, encode_style)

    def conditions(self, batch: ContentBatch, style: S2PreSTStyle, context: Context) -> Conditions:
        """c_C, c_K, c_S under the words v(C), v(K), v(S), and u, which takes v(K) if the negative prompt holds "*"."""
        backbone = context.backbone
        v = style.word_map_for(backbone)
        v_content, v_edges = v(batch.e_content), v(batch.e_edges)
        c_content = self._encode_prompt(self.prompt, v_content, context)
        c_edges = self._encode_prompt(self.prompt, v_edges, context)
        c_style = c_content
        v_style = style.own_word([self.style_embedding(part, context) for part in style.parts])
        if v_style is not None:
            words = v_style.to(backbone.device).expand(len(v_content), -1, -1)
            c_style = self._encode_prompt(self.prompt, words, context)
        else:
            style.require_picture(style_condition=self.style_condition)
        negative_word = v_edges if PLACEHOLDER in self.negative_prompt else None
        return Conditions(
            c_content, c_edges, c_style, self._encode_prompt(self.negative_prompt, negative_word, context)
        )

    def _encode_prompt(self, prompt: str, words: Tensor | None, context: Context) -> Conditioning:
        """The conditioning of a prompt for each of the ``words`` (B, n, W) that its placeholder stands for; kept."""
        backbone = context.backbone
        key = ("text", backbone.fingerprint, prompt)
        if words is None:
            return context.cache.get_or_compute(key, lambda: backbone.encode_prompt([prompt]))
        return context.cache.get_or_compute(
            (*key, tensor_digest(words)), lambda: backbone.encode_prompt([prompt] * len(words), words)
        )

    def condition(self, conditions: Conditions, edge_share: float = 1.0) -> Conditioning:
        """c = a_C c_C + a_K c_K + a_S c_S; what an ``edge_share`` below 1 takes from the edges goes to the content."""
        edges = self.edge_condition * edge_share
        content = self.content_condition + self.edge_condition - edges
        return Conditioning.weighted_sum(
            [conditions.content, conditions.edges, conditions.style], [content, edges, self.style_condition]
        )

    def start(self, batch: ContentBatch, conditions: Conditions, entry: Entry, context: Context) -> Start:
        """The start latent sqrt(abar) z_mix + sqrt(1 - abar) eps, with the noise eps of the mix of content and edges.

        Stochastic inversion predicts eps in the mix of the noised latents x; DDIM inversion leads from the mix of the
        clean ones to x, which holds it.
        """
        z_mix = (1 - self.style_latent) * batch.z_content + self.style_latent * batch.z_style
        share = 0.0 if self.edges == NO_EDGES else self.edge_noise
        if self.inversion == "ddim":
            clean = torch.lerp(batch.z_content, batch.z_edges, share)
            inversion = InversionSettings(self.steps, entry.run)
            unconditional = conditions.unconditional
            x = cached_inversion(context.backbone, clean, unconditional, inversion, context.cache, context.progress)
            eps = predict_noise(x, clean, entry.abar)
        else:
            x = noised_mix(batch, entry.abar, share)
            eps = without_adapters(context.backbone, self.condition(conditions))(x, entry.timestep).noise
        return Start(z_mix, x, eps, add_noise(z_mix, eps, entry.abar))

    def denoised(self, latents: Tensor, conditions: Conditions, entry: Entry, context: Context) -> Tensor:
        """The remaining steps with classifier-free guidance by (c, u); c follows the edge schedule."""
        backbone = context.backbone
        sampler = make_sampler(
            self.sampler, backbone.schedule, Run(self.steps, entry.run, generator=context.generator(1))
        )
        timesteps = sampler.timesteps
        scaling = GuidanceScaling.parse(self.guidance_scaling)

        def predict(x: Tensor, timestep: int) -> Prediction:
            progress = progress_of(timesteps.index(timestep), len(timesteps))
            c = self.condition(conditions, edge_weight(self.edge_schedule, progress))
            return classifier_free(backbone, c, conditions.unconditional, self.guidance_scale, scaling)(x, timestep)

        return denoise(predict, latents, sampler, progress=context.progress)

    def final_latents(self, latents: Tensor, batch: ContentBatch, context: Context) -> Tensor:
        """The last latents, ``final_adain`` of the way to the channel statistics of z_S, and to a change of z_C without
        the autoencoder's grid.
        """
        if not self.final_adain:
            return latents
        z_content = batch.z_content
        moved = near_moments(latents, batch.z_style, self.final_adain, context.backbone.flat_channels)
        channels = self.final_adain * kept_grid_channels(z_content[:1], context)
        return z_content + without_grid(moved - z_content, channels)

    @contextmanager
    def tile_predictors(self, content: WorkingPicture, levels: Levels, context: Context) -> Iterator[list[Predict]]:
        """The prediction under the whole picture's condition c."""
        yield [tile_noise(self, content, context)]

    # What the published program computes otherwise; ``reproductions.s2prest`` overrides it.

    def working_pixels(self, image: Image.Image, size: Size) -> Tensor:
        """A content or its edges, (1, 3, H, W) in [-1, 1], at the working size (width, height)."""
        return image_to_pixels(image, size)

    def style_pixels(self, image: Image.Image, size: Size) -> Tensor:
        """The middle of a style picture that covers the working size, (1, 3, H, W) in [-1, 1]."""
        return image_to_pixels(covering(image, size))

    def encode_image(self, pixels: Tensor, context: Context) -> Tensor:
        """The image embedding e (1, E) of pixels (1, 3, H, W)."""
        return context.backbone.encode_image(pixels)

    def style_embedding(self, style: StylePart, context: Context) -> Tensor | None:
        """e(S) (1, E) as the fit kept it, or None."""
        return style.embedding

    def draw_noises(self, shape: torch.Size, context: Context) -> Noises:
        """One noise for both forward noisings, so that their mix keeps its size; the posteriors' means."""
        noise = context.noise(shape)
        return Noises(noise, noise)

    def entry(self, schedule: NoiseSchedule) -> Entry:
        """The level of the first step, for the noise estimate and the start latent alike."""
        run = steps_of_strength(self.steps, self.strength)
        return Entry(*start_level(self.sampler, schedule, Run(self.steps, max(1, run))), run)

    def cache_key(self, size: Size, context: Context) -> tuple[Hashable, ...]:
        """What latents and embeddings depend on beside their picture."""
        return context.backbone.fingerprint, size
