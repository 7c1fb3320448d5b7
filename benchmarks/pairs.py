"""Stylise pairs of contents and styles and measure the results, beside the photo itself and Magenta's transfer.

python benchmarks/pairs.py ../shared/data/pairs/content ../shared/data/pairs/style --out runs/pairs [--pairs 12]
writes a contact sheet (content, style, ours, Magenta's) and a table of means, and prints the table.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from velatura import Studio
from velatura.app.files import content_files
from velatura.app.options import parse_settings
from velatura.evaluation import (
    colour_distance,
    edge_f1,
    gram_distance,
    lpips_hedvgg,
    magenta_similarity,
    psnr,
    ssim,
)
from velatura.models.magenta import STYLE_NUMBERS, paint_over, style_vectors
from velatura.picture import image_to_pixels, open_picture, plan_size
from velatura.training.check import grid

SIDE = 256  # all measures are taken with the short side scaled to this
TILE = (256, 256)


def measures(mean: Tensor) -> dict[str, Callable[[Tensor, Tensor, Tensor], float]]:
    """Name (with the better direction) to a function of result, content and style."""
    return {
        "psnr ↑": lambda r, c, s: psnr(r, c),
        "ssim ↑": lambda r, c, s: ssim(r, c),
        "edge F1 ↑": lambda r, c, s: edge_f1(r, c),
        "lpips-hedvgg ↓": lambda r, c, s: lpips_hedvgg(r, c),
        "Gram ↓": lambda r, c, s: gram_distance(r, s),
        "Magenta cosine ↑": lambda r, c, s: magenta_similarity(r, s, mean),
        "colour ↓": lambda r, c, s: colour_distance(r, s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contents", type=Path)
    parser.add_argument("styles", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/pairs"))
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--model", default="house")
    parser.add_argument("--set", action="append", dest="settings")
    parser.add_argument("--loss", action="append", dest="losses")
    asked = parser.parse_args()
    settings = parse_settings("guided", asked.settings, asked.losses)
    contents, styles = content_files([asked.contents]), content_files([asked.styles])
    studio = Studio(asked.model)
    mean = studio.backbone.pipeline.image_encoder.mean[:STYLE_NUMBERS].float()
    rows: dict[str, list[list[float]]] = {"the photo itself": [], "Magenta's transfer": [], "guided": []}
    tiles, seconds = [], []
    named = measures(mean)
    for index in range(asked.pairs):
        content, style = open_picture(contents[index % len(contents)]), open_picture(styles[index * 3 % len(styles)])
        size = plan_size(content.size, SIDE, 8).working
        c, s = (
            image_to_pixels(content.image, size),
            image_to_pixels(style.image, plan_size(style.size, SIDE, 8).working),
        )
        started = time.perf_counter()
        result = studio.stylize(content, style=styles[index * 3 % len(styles)], seed=0, **settings)
        seconds.append(time.perf_counter() - started)
        results = {
            "the photo itself": c,
            "Magenta's transfer": paint_over(c, style_vectors(s)),
            "guided": image_to_pixels(result.picture, size),
        }
        for name, picture in results.items():
            rows[name].append([measure(picture, c, s) for measure in named.values()])
        shown = (content.image, style.image, result.picture)
        tiles += [image_to_pixels(image, TILE) for image in shown]
        tiles.append(torch.nn.functional.interpolate(results["Magenta's transfer"], TILE, mode="bicubic"))
    asked.out.mkdir(parents=True, exist_ok=True)
    grid(torch.cat(tiles), 8).save(asked.out / "sheet.jpg", quality=92)
    table = ["| | " + " | ".join(named) + " |", "|---|" + "---|" * len(named)]
    for name, values in rows.items():
        means = torch.tensor(values).clamp(max=100).mean(0)
        table.append(f"| {name} | " + " | ".join(f"{value:.3g}" for value in means.tolist()) + " |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    table.append(
        f"\n{asked.pairs} pairs; {sorted(seconds)[len(seconds) // 2]:.1f} s a picture (median), peak {peak:.1f} GiB"
    )
    (asked.out / "table.md").write_text("\n".join(table) + "\n")
    print("\n".join(table))


if __name__ == "__main__":
    main()
