"""What the benchmarks share: pairs of pictures, metrics of a result, and tables of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from velatura.app.files import content_files
from velatura.evaluation import (
    colour_distance,
    content_leak,
    edge_f1,
    gram_distance,
    lpips_hedvgg,
    magenta_similarity,
    outline_leak,
    psnr,
    ssim,
)
from velatura.models.features.magenta import STYLE_NUMBERS
from velatura.models.house.backbone import HouseBackbone
from velatura.picture import Picture, image_to_pixels, open_picture, plan_size

Metric = Callable[[Tensor, Tensor, Tensor], float]  # of result, content and style, (1, 3, h, w) each


def metrics(backbone: HouseBackbone, *names: str) -> dict[str, Metric]:
    """Metrics by ``names``, whose arrow is the better direction; the house model knows the mean style vector."""
    mean = backbone.pipeline.image_encoder.mean[:STYLE_NUMBERS].float()
    known: dict[str, Metric] = {
        "psnr ↑": lambda r, c, s: psnr(r, c),
        "ssim ↑": lambda r, c, s: ssim(r, c),
        "edge F1 ↑": lambda r, c, s: edge_f1(r, c),
        "lpips-hedvgg ↓": lambda r, c, s: lpips_hedvgg(r, c),
        "Gram ↓": lambda r, c, s: gram_distance(r, s),
        "Magenta cosine ↑": lambda r, c, s: magenta_similarity(r, s, mean),
        "colour ↓": lambda r, c, s: colour_distance(r, s),
        "content leak ↓": content_leak,
        "outline leak ↓": outline_leak,
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
        return torch.tensor([metric(result, self.c, self.s) for metric in chosen.values()])


def pairs(contents: Path, styles: Path, count: int, side: int) -> Iterator[Pair]:
    """Each content of a folder in turn with every third style of another."""
    ours, theirs = content_files([contents]), content_files([styles])
    for index in range(count):
        yield Pair.of(ours[index % len(ours)], theirs[index * 3 % len(theirs)], side)


def table(columns: Sequence[str], rows: Mapping[str, Sequence[float]]) -> str:
    """Markdown: a row of numbers by name."""
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(f"{value:.3g}" for value in values) + " |" for name, values in rows.items()]
    return "\n".join(lines)


def tiled(images: Sequence[Image.Image], tile: tuple[int, int]) -> Tensor:
    """Pictures as tiles (width, height) of a sheet."""
    return torch.cat([image_to_pixels(image, tile) for image in images])
