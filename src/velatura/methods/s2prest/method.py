"""S2PreST: InST's learned word, steered by the content's edges (spec s2prest, sections 2 and 3).

C is the content, K its edge picture, S the style picture; v(.) is the word map fitted on S; z are latents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from velatura.diffusion.guidance import classifier_free
from velatura.diffusion.latents import adain
from velatura.diffusion.remembered import remembered_inversion
from velatura.diffusion.sampling import denoise
from velatura.diffusion.schedules import ddim_levels, make_sampler, noise_of
from velatura.errors import StyleError
from velatura.memory import Memory, tensor_digest
from velatura.methods.base import Stylization, manifest_of
from velatura.methods.fits import fit_settings
from velatura.methods.s2prest.arithmetic import ARITHMETICS, Arithmetic, Draws, Entry, noised_mix
from velatura.methods.s2prest.fitting import FitSettings, fit_word
from velatura.methods.s2prest.quantities import Conditions, Prepared, Start, edge_weight, joined
from velatura.methods.s2prest.settings import EDGE_SOURCES, S2PreSTSettings
from velatura.models.backbone import PLACEHOLDER, Backbone, Condition
from velatura.models.edges import canny_edges, hed_edges
from velatura.picture import Picture, image_to_pixels, open_picture, pixels_to_image
from velatura.progress import Progress
from velatura.regions import Region, whole_style
from velatura.style import Style
from velatura.style.pictures import pictures_of
from velatura.style.word_map import WordMap

COMPUTED_MOST = 4  # contents that share a pass


@dataclass(frozen=True)
class S2PreST(S2PreSTSettings):
    """The method; its settings are those of ``S2PreSTSettings``."""

    name: ClassVar[str] = "s2prest"
    fits: ClassVar[str] = "s2prest"  # styles are shared with InST

    @property
    def fitted_by(self) -> Mapping[str, Any]:
        return fit_settings(self, FitSettings)

    @property
    def arithmetic(self) -> Arithmetic:
        return ARITHMETICS[self.compat]

    def fit(
        self,
        picture: Picture,
        backbone: Backbone,
        name: str,
        progress: Progress,
        mask: Picture | None = None,
        checkpoint: Path | None = None,
    ) -> Style:
        """Fit the word map v(.) on a style picture (section 1); resumed from ``checkpoint`` where that is there."""
        return fit_word(self, self.fits, picture, backbone, name, progress, mask, checkpoint)

    def stylize(
        self,
        contents: Sequence[Picture],
        regions: Sequence[Region],
        backbone: Backbone,
        seed: int,
        progress: Progress,
        memory: Memory,
    ) -> list[Stylization]:
        """Put the style on contents; those of equal working size share every pass through the network."""
        settled = self.settled(backbone)
        if settled != self:
            return settled.stylize(contents, regions, backbone, seed, progress, memory)
        style = whole_style(regions, self.name)
        style.check(self.fits, backbone.fingerprint, backbone.name)
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, content in enumerate(contents):
            by_size.setdefault(self.arithmetic.sizing(content.size, self.size, backbone).working, []).append(index)
        results: dict[int, Stylization] = {}
        for working, indices in by_size.items():
            for first in range(0, len(indices), COMPUTED_MOST):
                some = indices[first : first + COMPUTED_MOST]
                batch = self._together([contents[i] for i in some], working, style, backbone, seed, progress, memory)
                results.update(zip(some, batch, strict=True))
        return [results[index] for index in range(len(contents))]

    @torch.no_grad()
    def _together(
        self,
        contents: Sequence[Picture],
        working: tuple[int, int],
        style: Style,
        backbone: Backbone,
        seed: int,
        progress: Progress,
        memory: Memory,
    ) -> list[Stylization]:
        before = backbone.evaluations
        prepared = joined(
            [self.prepare(content, working, style, backbone, seed, memory) for content in contents], backbone.device
        )
        conditions = self.conditions(prepared, style, backbone, memory)
        entry = self.arithmetic.entry(backbone, self.steps, self.strength)
        latents = prepared.z_content
        if entry.run:
            start = self.start(prepared, conditions, entry, backbone, memory, progress)
            latents = self.denoised(start.latents, conditions, entry, backbone, progress)
        evaluations = (backbone.evaluations - before) / len(contents)
        results = []
        for index, content in enumerate(contents):
            pixels = backbone.decode(latents[index : index + 1])
            manifest = manifest_of(self.name, asdict(self), content, style, backbone, seed, working)
            results.append(
                Stylization(
                    self.arithmetic.image(pixels, content.size),
                    content.alpha,
                    layers=self._layers(prepared.edges[index : index + 1], content.size),
                    scores={"unet_evaluations": evaluations},
                    manifest=manifest,
                )
            )
        return results

    def _layers(self, edges: Tensor, size: tuple[int, int]) -> dict[str, Image.Image]:
        return {} if self.edges == "none" else {"canny": pixels_to_image(edges, size)}

    def prepare(
        self,
        content: Picture,
        working: tuple[int, int],
        style: Style,
        backbone: Backbone,
        seed: int,
        memory: Memory,
    ) -> Prepared:
        """Latents and embeddings of content, edges and style at the working size; each computed once."""
        ways = self.arithmetic
        drawn = (backbone.fingerprint, working, self.compat, seed if self.compat else None)
        shape = self._latent_shape(backbone, working)
        draws = ways.draws(shape, seed)

        def of_content() -> tuple[Tensor, Tensor]:
            pixels = ways.pixels(content.image, working)
            return backbone.encode(pixels, draws.content_posterior), ways.see(pixels, backbone)

        def of_edges() -> tuple[Tensor, Tensor, Tensor]:
            edges = self.edge_picture(content, working)
            return edges, backbone.encode(edges, draws.edges_posterior), ways.see(edges, backbone)

        def of_style() -> Tensor:
            return self._style_latents(style, working, backbone, draws)

        z_content, sees_content = memory.recall(("content", content.digest, *drawn), of_content)
        edges, z_edges, sees_edges = torch.zeros(1, 0), z_content, sees_content
        if self.edges != "none":
            edges, z_edges, sees_edges = memory.recall(
                ("edges", content.digest, self.edges, self.edge_threshold, *drawn), of_edges
            )
        z_style = memory.recall(("style", style.identity, *drawn), of_style)
        return Prepared(adain(z_content, z_style, self.adain), z_edges, z_style, sees_content, sees_edges, edges, draws)

    def _latent_shape(self, backbone: Backbone, working: tuple[int, int]) -> torch.Size:
        width, height = working
        return torch.Size((1, backbone.latent_channels, height // backbone.factor, width // backbone.factor))

    def edge_picture(self, content: Picture, working: tuple[int, int]) -> Tensor:
        """K: edges of the content at its own size, dark on white, then at the working size."""
        if self.edges not in EDGE_SOURCES:
            return self.arithmetic.pixels(open_picture(self.edges).image, working)
        pixels = image_to_pixels(content.image)
        if self.edges == "hed":
            return self.arithmetic.pixels(pixels_to_image(hed_edges(pixels)), working)
        drawn = canny_edges(pixels, self.edge_threshold / 2, self.edge_threshold)
        return self.arithmetic.pixels(pixels_to_image(drawn), working)

    def _style_latents(self, style: Style, working: tuple[int, int], backbone: Backbone, draws: Draws) -> Tensor:
        """z_S, or the weighted sum of several styles' latents; z_C's stand-in where nothing of it is used."""
        pictures = pictures_of(style)
        if not pictures:
            if self.style_latent or self.adain:
                raise StyleError(
                    f"The style '{style.name}' was imported without its picture, which z_S is made of: import it with "
                    "--picture, or set style_latent=0."
                )
            return torch.zeros(self._latent_shape(backbone, working), device=backbone.device)
        parts = [
            share * backbone.encode(self.arithmetic.style_pixels(image, working), draws.style_posterior)
            for image, share in pictures
        ]
        return torch.stack(parts).sum(0)

    def conditions(self, prepared: Prepared, style: Style, backbone: Backbone, memory: Memory) -> Conditions:
        """c_C, c_K, c_S under v(C), v(K), v(S), and u."""
        v = WordMap.of(style.tensors).to(backbone.device)
        if v.width != backbone.word_width:
            raise StyleError(
                f"The style '{style.name}' has words of width {v.width}, the model {backbone.name} of "
                f"{backbone.word_width}: use the base model that it was made for."
            )
        count = len(prepared.z_content)
        sees_style = self._sees_style(style, backbone)
        words = [v(prepared.sees_content), v(prepared.sees_edges)]
        if sees_style is not None:
            words.append(v(sees_style.to(backbone.device)).expand(count, -1, -1))
        elif self.style_condition:
            raise StyleError(
                f"The style '{style.name}' was imported without its picture: import it with --picture, or set "
                "style_condition=0."
            )
        texts = [self._said(self.prompt, word, backbone, memory) for word in words]
        speaks = PLACEHOLDER in self.negative_prompt
        without = self._said(self.negative_prompt, words[1] if speaks else None, backbone, memory)
        return Conditions(texts[0], texts[1], texts[2] if len(texts) > 2 else texts[0], without)

    def _sees_style(self, style: Style, backbone: Backbone) -> Tensor | None:
        """e(S) as the fit kept it; under compat what the published cast to bytes leaves of the picture."""
        pictures = pictures_of(style)
        if self.compat and pictures:
            sizing = self.arithmetic.sizing(pictures[0][0].size, 0, backbone)
            return self.arithmetic.see(self.arithmetic.style_pixels(pictures[0][0], sizing.working), backbone)
        return style.tensors.get("embedding")

    def _said(self, prompt: str, word: Tensor | None, backbone: Backbone, memory: Memory) -> Condition:
        """The prompt's condition, once for each word (B, tokens, width) that its placeholder stands for."""
        if word is None:
            return memory.recall(("text", backbone.fingerprint, prompt), lambda: backbone.text([prompt]))
        key = ("text", backbone.fingerprint, prompt, tensor_digest(word))
        return memory.recall(key, lambda: backbone.text([prompt] * len(word), word))

    def condition(self, conditions: Conditions, edge_weight: float = 1.0) -> Condition:
        """c = a_C c_C + a_K c_K + a_S c_S; what ``edge_weight`` < 1 takes from the edges goes to the content."""
        edges = self.edge_condition * edge_weight
        content = self.content_condition + self.edge_condition - edges
        return Condition.mixed(
            [conditions.content, conditions.edges, conditions.style], [content, edges, self.style_condition]
        )

    def start(
        self,
        prepared: Prepared,
        conditions: Conditions,
        entry: Entry,
        backbone: Backbone,
        memory: Memory,
        progress: Progress,
    ) -> Start:
        """Stochastic inversion: the noise that the model sees in the noised content and edges, under z_mix."""
        mixed = (1 - self.style_latent) * prepared.z_content + self.style_latent * prepared.z_style
        edge_share = 0.0 if self.edges == "none" else self.edge_noise
        if self.inversion == "ddim":
            seen = torch.lerp(prepared.z_content, prepared.z_edges, edge_share)
            way = (backbone, seen, conditions.without, self.steps, entry.run)
            noisy = remembered_inversion(*way, corrections=0, memory=memory, progress=progress)
            noise = noise_of(noisy, seen, entry.abar)
        else:
            noises = (prepared.draws.content.to(mixed), prepared.draws.edges.to(mixed))
            noisy = noised_mix(prepared.z_content, prepared.z_edges, noises, entry.abar, edge_share)
            noise = backbone.predict(noisy, entry.timestep, self.condition(conditions))
        return Start(mixed, noisy, noise, math.sqrt(entry.abar) * mixed + math.sqrt(1 - entry.abar) * noise)

    def denoised(
        self, latents: Tensor, conditions: Conditions, entry: Entry, backbone: Backbone, progress: Progress
    ) -> Tensor:
        """The last steps of DDIM with classifier-free guidance; the edge condition follows its schedule."""
        timesteps = ddim_levels(backbone.alphas_cumprod, self.steps).up_to(entry.run).timesteps[::-1]
        last = max(1, len(timesteps) - 1)

        def predict(x: Tensor, timestep: int) -> Tensor:
            passed = sum(t > timestep for t in timesteps) / last
            condition = self.condition(conditions, edge_weight(self.edge_schedule, passed))
            return classifier_free(backbone, condition, conditions.without, self.guidance_scale)(x, timestep)

        sampler = make_sampler(self.sampler, backbone.scheduler)
        return denoise(predict, latents, sampler, self.steps, entry.run, progress=progress)


@dataclass(frozen=True)
class InST(S2PreST):
    """Plain InST: the style's own condition, no edges, no style latent."""

    name: ClassVar[str] = "inst"

    content_condition: float = 0.0
    edge_condition: float = 0.0
    style_condition: float = 1.0
    edge_noise: float = 0.0
    style_latent: float = 0.0
    edges: str = "none"
