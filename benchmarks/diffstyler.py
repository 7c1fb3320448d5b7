"""DiffStyler against its published program: UNet samples, seconds and memory (pictures: benchmarks/regions.py).

python benchmarks/diffstyler.py CONTENT --style STYLE --mask MASK [--mask MASK …] [--size 128] [--steps 50] [--steps 20]
Both on the same weights, LoRA and settings, in one run, for K = 1 … as many regions as there are masks (pictures, or
box:… and the like); ours with each of --steps, the published program with its 50. The peak of memory is that of the run
so far: what K adds is what it grows by. First, how well inversions lead back to the decoded content.
The published program squashes to 512 x 512; to be affordable here it is run at ``--size``, with its 999-step inversion,
its hard masks and its three samples a pass.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import ddim_denoise, invert
from velatura.evaluation import psnr
from velatura.methods.base import Method, Size
from velatura.methods.context import RunContext
from velatura.methods.diffstyler import DiffStyler
from velatura.models.backbone import Backbone
from velatura.models.loading.load import load_backbone
from velatura.picture import Picture, image_to_pixels, open_picture
from velatura.regions import Region, parse_query
from velatura.reproductions.diffstyler import DiffStylerOriginal, inversion_levels

HEADER = "| K | | inversion | denoising | samples in all | seconds | peak GiB |\n|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class OriginalAtSize(DiffStylerOriginal):
    """The published program at another size than its own."""

    side: int = 512

    def working_size(self, size: Size, backbone: Backbone) -> Size:
        return (self.side, self.side)


def show_inversions(backbone: Backbone, pixels: torch.Tensor) -> None:
    """PSNR against the decoded content of the picture that each inversion leads back to."""
    predict, latents = conditional(backbone, backbone.unconditional()), backbone.encode(pixels)
    decoded = backbone.decode(latents)
    ours = [
        (f"{steps} steps, {count} corrections", backbone.schedule.ddim_levels(steps), count)
        for steps in (20, 50)
        for count in (0, 1, 2)
    ]
    for name, levels, corrections in (("999 naive", inversion_levels(backbone.schedule), 0), *ours):
        noisiest = invert(predict, latents, levels, corrections).noisiest
        print(f"{name}: {psnr(backbone.decode(ddim_denoise(predict, noisiest, levels)), decoded):.1f} dB", flush=True)


@dataclass(frozen=True)
class Comparison:
    """A square content and the model."""

    content: Picture
    backbone: Backbone

    def line(self, name: str, method: Method, regions: Sequence[Region], inversion: int) -> str:
        """A row of the table: ``inversion`` is how many of the method's samples invert."""
        started = time.perf_counter()
        result = method.stylize([self.content], regions, RunContext(self.backbone))[0]
        seconds, samples = time.perf_counter() - started, int(result.scores["unet_evaluations"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        counted = f"{inversion} | {samples - inversion} | {samples}"
        return f"| {len(regions)} | {name} | {counted} | {seconds:.0f} | {peak:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("content", type=Path)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--mask", action="append", required=True)
    parser.add_argument("--model", default="house")
    parser.add_argument("--steps", type=int, action="append")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--guidance", type=float, default=0.0, help="0: what the model recommends, or the paper's")
    asked = parser.parse_args()
    backbone = load_backbone(asked.model, dtype="fp32")
    method = DiffStyler(size=asked.size, guidance_scale=asked.guidance).resolved(backbone)
    original = OriginalAtSize(guidance_scale=method.guidance_scale, side=asked.size)
    size = (asked.size, asked.size)
    content, style_picture = open_picture(asked.content), open_picture(asked.style)
    style = method.fit(style_picture, "style", RunContext(backbone))
    square = Picture.of(content.image.resize(size, Image.Resampling.LANCZOS), content.name)
    pixels = image_to_pixels(square.image)
    with torch.no_grad():
        show_inversions(backbone, pixels)
    comparison = Comparison(square, backbone)
    print(HEADER, flush=True)
    for count in range(1, len(asked.mask) + 1):
        regions = [Region(style, parse_query(mask)) for mask in asked.mask[:count]]
        for steps in asked.steps or [method.steps]:
            ours, inversion = replace(method, steps=steps), 1 + steps * method.corrections
            print(comparison.line(f"ours, {steps} steps", ours, regions, inversion), flush=True)
        print(comparison.line("published", original, regions, len(backbone.schedule) - 1), flush=True)


if __name__ == "__main__":
    main()
