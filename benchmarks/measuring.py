"""What the benchmarks share: pairs of pictures, metrics of a result, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from velatura.app.files import content_files
from velatura.evaluation import (
    clipped_share,
    colour_distance,
    content_leak,
    edge_f1,
    feature_distance,
    gradient_agreement,
    gram_distance,
    invented_edges,
    lattice_ratio,
    local_structure,
    lpips_hedvgg,
    luminance_range,
    magenta_similarity,
    outline_leak,
    psnr,
    region_sharpness,
    ssim,
)
from velatura.models.features.magenta import STYLE_NUMBERS
from velatura.models.house.backbone import HouseBackbone
from velatura.picture import Picture, image_to_pixels, open_picture, plan_size

Mask = Tensor | None  # (1, 1, h, w): where it is measured; None: everywhere
Metric = Callable[[Tensor, Tensor, Tensor, Mask], float]  # of result, content and style, (1, 3, h, w) each


def metrics(backbone: HouseBackbone, *names: str) -> dict[str, Metric]:
    """Metrics by ``names``, whose arrow is the better direction; the house model knows the mean style vector."""
    mean = backbone.pipeline.image_encoder.mean[:STYLE_NUMBERS].float()
    known: dict[str, Metric] = {
        "psnr ↑": lambda r, c, s, m: psnr(r, c),
        "ssim ↑": lambda r, c, s, m: ssim(r, c),
        "edge F1 ↑": lambda r, c, s, m: edge_f1(r, c, mask=m),
        "gradients ↑": lambda r, c, s, m: gradient_agreement(r, c, m),
        "structure ↑": lambda r, c, s, m: local_structure(r, c, m),
        "lpips-hedvgg ↓": lambda r, c, s, m: lpips_hedvgg(r, c, m),
        "Gram ↓": lambda r, c, s, m: gram_distance(r, s),
        "deep ↓": lambda r, c, s, m: feature_distance(r, s, m),
        "Magenta cosine ↑": lambda r, c, s, m: magenta_similarity(r, s, mean),
        "colour ↓": lambda r, c, s, m: colour_distance(r, s, mask=m),
        "clipped ↓": lambda r, c, s, m: clipped_share(r, m),
        "range ↑": lambda r, c, s, m: luminance_range(r, c, s, m),
        "lattice ↓": lambda r, c, s, m: lattice_ratio(r, c, m),
        "invented ↓": lambda r, c, s, m: invented_edges(r, c, m),
        "sharpness": lambda r, c, s, m: 1.0 if m is None else region_sharpness(r, c, m),
        "content leak ↓": lambda r, c, s, m: content_leak(r, c, s),
        "outline leak ↓": lambda r, c, s, m: outline_leak(r, c, s),
    }
    return {name: known[name] for name in names}


@dataclass(frozen=True)
class Pair:
    """A content and a style, and both as pixels with the short side that measures are taken at."""

    content: Picture
    style: Picture
    c: Tensor
    s: Tensor

    @classmethod
    def of(cls, content: Path, style: Path, side: int) -> Pair:
        pictures = (open_picture(content), open_picture(style))
        c, s = (image_to_pixels(each.image, plan_size(each.size, side, 8).working) for each in pictures)
        return cls(*pictures, c, s)

    def as_pixels(self, result: Image.Image) -> Tensor:
        """Pixels of a result at the size of ``c``."""
        height, width = self.c.shape[2:]
        return image_to_pixels(result, (width, height))

    def measured(self, result: Tensor, chosen: Mapping[str, Metric]) -> Tensor:
        """The ``chosen`` metrics of a result's pixels: (len(chosen),)."""
        return torch.tensor([metric(result, self.c, self.s, None) for metric in chosen.values()])


def pairs(contents: Path, styles: Path, count: int, side: int) -> Iterator[Pair]:
    """Each content of a folder in turn with every third style of another; none twice while there are others."""
    ours, theirs = content_files([contents]), content_files([styles])
    for index in range(count):
        again = index // math.lcm(len(ours), len(theirs) // math.gcd(3, len(theirs)))  # of the same pair: one style on
        yield Pair.of(ours[index % len(ours)], theirs[(index * 3 + again) % len(theirs)], side)


def table(columns: Sequence[str], rows: Mapping[str, Sequence[float]]) -> str:
    """Markdown: a row of numbers by name."""
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(f"{value:.3g}" for value in values) + " |" for name, values in rows.items()]
    return "\n".join(lines)


def tiled(images: Sequence[Image.Image], tile: tuple[int, int]) -> Tensor:
    """Pictures as tiles (width, height) of a sheet."""
    return torch.cat([image_to_pixels(image, tile) for image in images])
