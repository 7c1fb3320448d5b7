"""DiffStyler against its published arithmetic: UNet samples, seconds, memory, and what comes of the picture.

python benchmarks/diffstyler.py CONTENT --style STYLE --mask MASK [--mask MASK …] [--size 128] [--steps 50] [--steps 20]
Both on the same weights, LoRA and settings, in one run, for K = 1 … as many regions as there are masks (pictures, or
box:… and the like); ours with each of --steps, the published path with its 50. The peak of memory is that of the run so
far: what K adds is what it grows by. First, how well inversions lead back to the decoded content.
The published path squashes to 512 x 512 by itself; to be affordable here it is run through the same functions at
``--size``, with its 999-step inversion, its hard masks and its three samples a pass.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from velatura.diffusion.guidance import conditional
from velatura.diffusion.inversion import denoise_exactly, invert
from velatura.diffusion.schedules import ddim_levels
from velatura.evaluation import colour_distance, edge_f1, gram_distance, lpips_hedvgg, psnr
from velatura.memory import Memory
from velatura.methods import DiffStyler
from velatura.methods.diffstyler.published import (
    PublishedRegion,
    at_timestep,
    cells_of_mask,
    denoise_published,
    published_levels,
)
from velatura.models.latent import LatentBackbone
from velatura.models.loading import load_latent_backbone
from velatura.picture import Picture, image_to_pixels, open_picture
from velatura.progress import Silent
from velatura.regions import Region, parse_query
from velatura.regions.masks import image_of_mask


def show_inversions(backbone: LatentBackbone, pixels: torch.Tensor) -> None:
    """PSNR against the decoded content of the picture that each inversion leads back to."""
    predict, latents = conditional(backbone, backbone.text([""])), backbone.encode(pixels)
    wanted, every = backbone.decode(latents), published_levels(backbone)
    ours = [
        (f"{n} steps, {c} corrections", ddim_levels(backbone.alphas_cumprod, n), c) for n in (20, 50) for c in (0, 1, 2)
    ]
    for name, levels, corrections in (("999 naive", every, 0), *ours):
        start = invert(predict, latents, levels, corrections).start
        print(f"{name}: {psnr(backbone.decode(denoise_exactly(predict, start, levels)), wanted):.1f} dB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("content", type=Path)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--mask", action="append", required=True)
    parser.add_argument("--model", default="house")
    parser.add_argument("--steps", type=int, action="append")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--guidance", type=float, default=0.0, help="0: what the model advises, or the paper's")
    asked = parser.parse_args()
    backbone = load_latent_backbone(asked.model, dtype="fp32")
    method = DiffStyler(size=asked.size, guidance_scale=asked.guidance).settled(backbone)
    style = method.fit(open_picture(asked.style), backbone, "style", Silent())
    content = open_picture(asked.content)
    square = Picture.of(content.image.resize((asked.size, asked.size), Image.Resampling.LANCZOS), content.name)
    pixels = image_to_pixels(square.image)
    wanted = image_to_pixels(open_picture(asked.style).image, (asked.size, asked.size))
    lines = [
        "| K | | inversion | denoising | samples in all | seconds | edge F1 ↑ | lpips-hedvgg ↓ | Gram ↓ | colour ↓ "
        "| peak GiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]

    def line(count: int, name: str, samples: tuple[int, int], seconds: float, result: torch.Tensor) -> None:
        found = [edge_f1(result, pixels), lpips_hedvgg(result, pixels)]
        found += [gram_distance(result, wanted), colour_distance(result, wanted)]
        numbers = " | ".join(f"{value:.3g}" for value in found)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        counted = f"{samples[0]} | {samples[1]} | {sum(samples)}"
        lines.append(f"| {count} | {name} | {counted} | {seconds:.0f} | {numbers} | {peak:.2f} |")
        print(lines[-1], flush=True)

    with torch.no_grad():
        show_inversions(backbone, pixels)
    print("\n".join(lines), flush=True)
    for count in range(1, len(asked.mask) + 1):
        queries = [parse_query(mask) for mask in asked.mask[:count]]
        regions = [Region(style, query) for query in queries]
        for steps in asked.steps or [method.steps_taken]:
            started, before = time.perf_counter(), backbone.evaluations
            ours = replace(method, steps=steps)
            made = ours.stylize([square], regions, backbone, 0, Silent(), Memory())[0]
            seconds, samples = time.perf_counter() - started, backbone.evaluations - before
            inversion = 1 + steps * ours.corrections
            line(
                count, f"ours, {steps} steps", (inversion, samples - inversion), seconds, image_to_pixels(made.picture)
            )

        started, before = time.perf_counter(), backbone.evaluations
        with torch.no_grad():
            empty, latents = backbone.text([""]), backbone.encode(pixels)
            levels = published_levels(backbone)
            trajectory = invert(conditional(backbone, empty), latents, levels)
            inversion = backbone.evaluations - before
            grid = (latents.shape[2], latents.shape[3])
            prompt = backbone.text([style.card["prompt"]])
            pasted = [
                PublishedRegion(style.tensors, prompt, cells_of_mask(image_of_mask(query(square)), grid))
                for query in queries
            ]
            negative = backbone.text([method.negative_prompt])
            run = (50, method.guidance_scale, Silent())
            last = denoise_published(backbone, at_timestep(trajectory), pasted, empty, negative, *run)
            result = backbone.decode(last)
        samples = backbone.evaluations - before
        seconds = time.perf_counter() - started
        line(count, "published", (inversion, samples - inversion), seconds, result)


if __name__ == "__main__":
    main()
