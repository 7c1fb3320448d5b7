"""Measuring a house model on held-out pictures, and drawing what it paints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from velatura.diffusion.guidance import classifier_free, conditional
from velatura.diffusion.inversion import denoise_exactly, invert
from velatura.diffusion.sampling import denoise
from velatura.diffusion.schedules import Levels, add_noise, ddim_levels, make_sampler
from velatura.evaluation import colour_distance, edge_f1, magenta_similarity, psnr
from velatura.models.latent import LatentBackbone
from velatura.models.loading import load_latent_backbone
from velatura.models.magenta import STYLE_NUMBERS
from velatura.picture import pixels_to_image
from velatura.progress import Progress
from velatura.training.batches import centre_crops
from velatura.training.shards import read_shards

BANDS = 10
STEPS = 50
CONTENTS = 10  # of the held-out pictures, the first
RESTYLED = 24
PART = 8  # pictures at a time
CAPTIONS = (
    "",
    "a photo of a face",
    "a photo of a bridge",
    "an impressionism painting",
    "a cubism painting",
    "a baroque painting",
    "a photo of a dog",
    "a romanticism painting",
)


def grid(pixels: Tensor, columns: int) -> Image.Image:
    """Pictures (B, 3, H, W) in [-1, 1] as one sheet, row by row."""
    count, _, height, width = pixels.shape
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for index, picture in enumerate(pixels):
        sheet.paste(pixels_to_image(picture[None]), (index % columns * width, index // columns * height))
    return sheet


def _median_seconds(call: Callable[[], object], repeats: int = 7) -> float:
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[repeats // 2]


def loss_by_band(backbone: LatentBackbone, latents: Tensor) -> list[float]:
    """Mean squared error of the predicted noise, unconditional, in ten bands of timesteps, fixed noise."""
    generator, condition, losses = torch.Generator().manual_seed(0), backbone.text([""]), []
    width = len(backbone.alphas_cumprod) // BANDS
    for band in range(BANDS):
        timestep = band * width + width // 2
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        noisy = add_noise(latents, noise, float(backbone.alphas_cumprod[timestep]))
        losses.append((backbone.predict(noisy, timestep, condition) - noise).square().mean().item())
    return [round(loss, 5) for loss in losses]


def inversion_psnr(backbone: LatentBackbone, pixels: Tensor, latents: Tensor, corrections: int) -> float:
    """PSNR in dB of pictures inverted in 50 steps and denoised again."""
    levels: Levels = ddim_levels(backbone.alphas_cumprod, STEPS)
    predict = conditional(backbone, backbone.text([""]))
    back = denoise_exactly(predict, invert(predict, latents, levels, corrections).start, levels)
    return psnr(backbone.decode(back), pixels)


def _samples(backbone: LatentBackbone, progress: Progress) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    side = backbone.native_size // backbone.factor
    channels: int = backbone.unet.config.in_channels
    noise = torch.randn((len(CAPTIONS), channels, side, side), generator=generator).to(backbone.device)
    predict = classifier_free(backbone, backbone.text(CAPTIONS), backbone.text([""]), 3.0)
    return backbone.decode(denoise(predict, noise, make_sampler("ddim", backbone.scheduler), STEPS, progress=progress))


def _restyled(backbone: LatentBackbone, contents: Tensor, styles: Tensor, progress: Progress) -> Tensor:
    """Contents under the words of styles: inverted to strength 0.6, denoised with guidance 3."""
    words = [backbone.style_word(style[None]) for style in styles]
    prompts = ["a painting in the style of *"] * len(styles)
    condition = backbone.text(prompts, torch.cat([word for word in words if word is not None]))
    run = round(0.6 * STEPS)
    levels = ddim_levels(backbone.alphas_cumprod, STEPS).up_to(run)
    start = invert(conditional(backbone, backbone.text([""])), backbone.encode(contents), levels).start
    predict = classifier_free(backbone, condition, backbone.text([""]), 3.0)
    sampler = make_sampler("ddim", backbone.scheduler)
    return backbone.decode(denoise(predict, start, sampler, STEPS, run, progress=progress))


def _restyling(contents: Tensor, styles: Tensor, restyled: Tensor, usual: Tensor) -> dict[str, float]:
    """How near the pictures came to their styles, beside what the contents were before; means over all."""
    pairs = list(zip(*(torch.split(pixels, 1) for pixels in (contents, styles, restyled)), strict=True))
    measures = {
        "magenta, before": [magenta_similarity(content, style, usual) for content, style, _ in pairs],
        "magenta, restyled": [magenta_similarity(result, style, usual) for _, style, result in pairs],
        "colour, before": [colour_distance(content, style) for content, style, _ in pairs],
        "colour, restyled": [colour_distance(result, style) for _, style, result in pairs],
        "edges kept": [edge_f1(result, content) for content, _, result in pairs],
    }
    return {name: round(sum(values) / len(values), 3) for name, values in measures.items()}


@torch.no_grad()
def check_house(model: str, shards: Path, out: Path, progress: Progress) -> dict[str, object]:
    """Write ``out/report.json`` and sheets of pictures; return the report.

    The held-out shards hold ten contents first, then styles (``pairs/content``, ``pairs/style``).
    """
    backbone = load_latent_backbone(model)
    pixels = centre_crops(read_shards(shards, "heldout")).to(backbone.device)
    latents = torch.cat([backbone.encode(part) for part in torch.split(pixels, 4)])
    decoded = torch.cat([backbone.decode(part) for part in torch.split(latents, 4)])
    empty = backbone.text([""])
    few = slice(0, 12)
    report: dict[str, object] = {
        "model": model,
        "held-out pictures": len(pixels),
        "autoencoder psnr": psnr(decoded, pixels),
        "autoencoder psnr, first 10": psnr(decoded[:10], pixels[:10]),
        "autoencoder psnr, first 12": psnr(decoded[few], pixels[few]),
        "inversion psnr, first 12, 50 steps": inversion_psnr(backbone, pixels[few], latents[few], 0),
        "inversion psnr, first 4, 50 steps, 2 corrections": inversion_psnr(backbone, pixels[:4], latents[:4], 2),
        "noise loss by timestep band": loss_by_band(backbone, latents),
        "decode seconds, 256 px": _median_seconds(lambda: backbone.decode(latents[:1])),
        "unet seconds, 256 px": _median_seconds(lambda: backbone.predict(latents[:1], 500, empty)),
    }
    out.mkdir(parents=True, exist_ok=True)
    grid(torch.cat([pixels[:6], decoded[:6]]), 6).save(out / "autoencoder.png")
    grid(_samples(backbone, progress), 4).save(out / "samples.png")
    numbers, others = torch.arange(RESTYLED), len(pixels) - CONTENTS
    contents = pixels[(numbers + numbers // others) % CONTENTS]  # no pair twice
    styles = pixels[CONTENTS:][numbers % others]
    parts = zip(torch.split(contents, PART), torch.split(styles, PART), strict=True)
    restyled = torch.cat([_restyled(backbone, *part, progress) for part in parts])
    grid(torch.stack([contents, styles, restyled], 1).flatten(0, 1), 12).save(out / "restyled.png")
    usual = backbone.pipeline.image_encoder.mean[:STYLE_NUMBERS].float()
    report["restyled by a word"] = _restyling(contents, styles, restyled, usual)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report
