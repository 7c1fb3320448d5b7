"""Metrics of a house model on held-out pictures, and sheets of its samples."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from velatura.diffusion.denoising import denoise
from velatura.diffusion.guidance import classifier_free, conditional
from velatura.diffusion.guidance_scaling import GuidanceScaling
from velatura.diffusion.inversion import ddim_denoise, invert
from velatura.diffusion.samplers import Run, make_sampler
from velatura.errors import ModelError, PictureError
from velatura.evaluation import psnr
from velatura.models.house.backbone import HouseBackbone
from velatura.models.loading.load import load_backbone
from velatura.picture import pixels_to_image
from velatura.progress import Progress
from velatura.training.band_losses import loss_by_band
from velatura.training.batches import centre_crops
from velatura.training.shards import Example, read_shards
from velatura.training.word_restyling import (
    STEPS,
    Guidance,
    Restyled,
    recommended_scaling,
    restyle,
    texture_growth,
    usual_vector,
)

GUIDANCE, STRONG_GUIDANCE = 3.0, 5.0
CONTENTS = 10  # of the held-out pictures, the first
LEAST_STYLES = 3
RESTYLED, ENLARGED = 24, 6
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
    """Pictures (B, 3, H, W) in [-1, 1] on one sheet, row by row."""
    count, _, height, width = pixels.shape
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for index, picture in enumerate(pixels):
        sheet.paste(pixels_to_image(picture[None]), (index % columns * width, index // columns * height))
    return sheet


def _median_seconds(call: Callable[[], object], repeats: int = 7) -> float:
    """The median time of a call, after one to warm up."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[repeats // 2]


def inversion_psnr(backbone: HouseBackbone, pixels: Tensor, latents: Tensor, corrections: int) -> float:
    """PSNR in dB of pictures (B, 3, H, W) whose latents are inverted in 50 DDIM steps and denoised again."""
    levels = backbone.schedule.ddim_levels(STEPS)
    predict = conditional(backbone, backbone.unconditional())
    back = ddim_denoise(predict, invert(predict, latents, levels, corrections).noisiest, levels)
    return psnr(backbone.decode(back), pixels)


def _samples(backbone: HouseBackbone, progress: Progress) -> Tensor:
    """A picture for each of the captions, from fixed noise."""
    generator = torch.Generator().manual_seed(1)
    side = backbone.native_size // backbone.factor
    shape = (len(CAPTIONS), backbone.latent_channels, side, side)
    noise = torch.randn(shape, generator=generator).to(backbone.device)
    predict = classifier_free(backbone, backbone.encode_prompt(CAPTIONS), backbone.unconditional(), GUIDANCE)
    sampler = make_sampler("ddim", backbone.schedule, Run(STEPS, STEPS))
    return backbone.decode(denoise(predict, noise, sampler, progress=progress))


def _restyling(
    backbone: HouseBackbone, contents: Tensor, styles: Tensor, out: Path, progress: Progress
) -> dict[str, object]:
    """Measures of contents under the styles' words, with and without the recommended change of guidance, and how far
    the texture grows with the picture; a sheet of each.
    """
    own = recommended_scaling(backbone)
    guidance = {
        "plain guidance 3": Guidance(GUIDANCE, GuidanceScaling()),
        "guidance 3": Guidance(GUIDANCE, own),
        "guidance 5": Guidance(STRONG_GUIDANCE, own),
    }
    restyled = dict(zip(guidance, restyle(backbone, contents, styles, list(guidance.values()), progress), strict=True))
    for name, made in restyled.items():
        sheet = grid(torch.stack(list(made), 1).flatten(0, 1), 12)
        sheet.save(out / f"restyled-{name.replace(' ', '-')}.png")
    few, usual = slice(0, ENLARGED), usual_vector(backbone)
    large = F.interpolate(contents[few], scale_factor=2, mode="bicubic", antialias=True).clamp(-1, 1)
    (enlarged,) = restyle(backbone, large, styles[few], [guidance["guidance 3"]], progress)
    grid(enlarged.results, 3).save(out / "restyled-512-px.png")
    small = Restyled(*(pixels[few] for pixels in restyled["guidance 3"]))
    report: dict[str, object] = {f"restyled by a word, {name}": made.measures(usual) for name, made in restyled.items()}
    return report | {"texture wavelength, 512 px over 256 px": texture_growth(small, enlarged)}


def held_out_pictures(shards: Path) -> list[Example]:
    """The pictures of the check: ten contents, then styles. Raises PictureError where there are fewer."""
    found = read_shards(shards, "heldout")
    if len(found) < CONTENTS + LEAST_STYLES:
        raise PictureError(
            f"The check needs {CONTENTS} held-out contents and {LEAST_STYLES} or more styles after them in the order "
            f"of their names; {shards} holds {len(found)} pictures: pack them with --heldout."
        )
    return found


@torch.no_grad()
def check_house(model: str, shards: Path, out: Path, progress: Progress) -> dict[str, object]:
    """Write ``out/report.json`` and sheets of pictures; return the report.

    The held-out shards hold ten contents first, then styles (``pairs/content``, ``pairs/style``). Raises ModelError for
    a model that is not trained by this recipe, PictureError for too few pictures.
    """
    backbone = load_backbone(model)
    if not isinstance(backbone, HouseBackbone):
        raise ModelError(f"The model {model} is no house model: only models that this recipe trained can be checked.")
    pixels = centre_crops(held_out_pictures(shards)).to(backbone.device)
    out.mkdir(parents=True, exist_ok=True)  # what is no folder is refused before all is computed
    latents = torch.cat([backbone.encode(part) for part in torch.split(pixels, 4)])
    decoded = torch.cat([backbone.decode(part) for part in torch.split(latents, 4)])
    empty = backbone.unconditional()
    few = slice(0, 12)
    report: dict[str, object] = {
        "model": model,
        "held-out pictures": len(pixels),
        "autoencoder psnr": psnr(decoded, pixels),
        "autoencoder psnr, first 10": psnr(decoded[:10], pixels[:10]),
        "autoencoder psnr, first 12": psnr(decoded[few], pixels[few]),
        "inversion psnr, first 12, 50 steps": inversion_psnr(backbone, pixels[few], latents[few], 0),
        "inversion psnr, first 4, 50 steps, 2 corrections": inversion_psnr(backbone, pixels[:4], latents[:4], 2),
        "noise loss by timestep band": loss_by_band(
            lambda noisy, timestep: backbone.predict(noisy, timestep, empty).noise,
            latents,
            backbone.schedule.alphas_cumprod.tolist(),
        ),
        "decode seconds, 256 px": _median_seconds(lambda: backbone.decode(latents[:1])),
        "unet seconds, 256 px": _median_seconds(lambda: backbone.predict(latents[:1], 500, empty)),
    }
    grid(torch.cat([pixels[:6], decoded[:6]]), 6).save(out / "autoencoder.png")
    grid(_samples(backbone, progress), 4).save(out / "samples.png")
    numbers, others = torch.arange(RESTYLED), len(pixels) - CONTENTS
    contents = pixels[(numbers + numbers // others) % CONTENTS]  # no pair twice
    styles = pixels[CONTENTS:][numbers % others]
    report |= _restyling(backbone, contents, styles, out, progress)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return report
