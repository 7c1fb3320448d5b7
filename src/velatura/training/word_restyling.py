"""Photos restyled by a painting's word alone: what a house model does without a method's help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from velatura.diffusion.denoising import denoise
from velatura.diffusion.guidance import classifier_free, conditional
from velatura.diffusion.guidance_scaling import GuidanceScaling
from velatura.diffusion.inversion import invert
from velatura.diffusion.samplers import Run, make_sampler
from velatura.evaluation import (
    colour_distance,
    edge_f1,
    gram_distance,
    lattice_level,
    magenta_similarity,
    texture_wavelength,
)
from velatura.models.features.magenta import STYLE_NUMBERS
from velatura.models.house.backbone import HouseBackbone
from velatura.progress import Progress
from velatura.training.captions import WORD_CAPTION

STEPS = 50
STRENGTH = 0.6
PART = 8  # pictures at a time


class Guidance(NamedTuple):
    """Classifier-free guidance of a ``scale``, changed by ``scaling``."""

    scale: float
    scaling: GuidanceScaling


class Restyled(NamedTuple):
    """Photos, the paintings whose words they were restyled by, and the results: each (B, 3, H, W) in [-1, 1]."""

    contents: Tensor
    styles: Tensor
    results: Tensor

    def measures(self, usual: Tensor) -> dict[str, float]:
        """Mean distances of the results to the styles, the photos' own for comparison, edges kept and the lattice.

        Cosines of Magenta's style vectors are of their differences from the ``usual`` one.
        """
        triples = list(zip(*(torch.split(pixels, 1) for pixels in self), strict=True))
        columns = {
            "magenta, before": [magenta_similarity(content, style, usual) for content, style, _ in triples],
            "magenta": [magenta_similarity(result, style, usual) for _, style, result in triples],
            "colour, before": [colour_distance(content, style) for content, style, _ in triples],
            "colour": [colour_distance(result, style) for _, style, result in triples],
            "gram": [gram_distance(result, style) for _, style, result in triples],
            "edges kept": [edge_f1(result, content) for content, _, result in triples],
            "lattice": [lattice_level(result, content) for content, _, result in triples],
        }
        return {name: round(sum(values) / len(values), 3) for name, values in columns.items()}


def usual_vector(backbone: HouseBackbone) -> Tensor:
    """The mean of Magenta's style vectors over the model's training pictures."""
    mean: Tensor = backbone.pipeline.image_encoder.mean[:STYLE_NUMBERS].float()
    return mean


def recommended_scaling(backbone: HouseBackbone) -> GuidanceScaling:
    """The change of guidance that the model's folder recommends for every method, or none."""
    return GuidanceScaling.parse(str(backbone.recommended_settings.get("guidance_scaling", "")))


@torch.no_grad()
def restyle(
    backbone: HouseBackbone, contents: Tensor, styles: Tensor, guidance: Sequence[Guidance], progress: Progress
) -> list[Restyled]:
    """Contents inverted to strength 0.6 without a text and denoised under the words of styles, once a ``guidance``."""
    results: list[list[Tensor]] = [[] for _ in guidance]
    unconditional, run = backbone.unconditional(), round(STRENGTH * STEPS)
    sampler = make_sampler("ddim", backbone.schedule, Run(STEPS, run))
    levels = backbone.schedule.ddim_levels(STEPS).up_to(run)
    for part, paintings in zip(torch.split(contents, PART), torch.split(styles, PART), strict=True):
        words = torch.cat([backbone.style_word(each) for each in torch.split(paintings, 1)])
        conditioning = backbone.encode_prompt([WORD_CAPTION] * len(part), words)
        start = invert(conditional(backbone, unconditional), backbone.encode(part), levels).noisiest
        for made, (scale, scaling) in zip(results, guidance, strict=True):
            predict = classifier_free(backbone, conditioning, unconditional, scale, scaling)
            made.append(backbone.decode(denoise(predict, start, sampler, progress=progress)).clamp(-1, 1))
    return [Restyled(contents, styles, torch.cat(made)) for made in results]


def texture_growth(small: Restyled, large: Restyled) -> float:
    """How many times longer the texture's waves are in results of twice the size: geometric mean; 2 is best."""
    pairs = zip(torch.split(large.results, 1), torch.split(small.results, 1), strict=True)
    ratios = torch.tensor([texture_wavelength(one) / texture_wavelength(other) for one, other in pairs])
    return round(float(ratios.log().mean().exp()), 3)
