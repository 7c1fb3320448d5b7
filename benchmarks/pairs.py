"""Stylise pairs of contents and styles and measure the results, beside the photo itself and Magenta's transfer.

python benchmarks/pairs.py ../shared/data/pairs/content ../shared/data/pairs/style --out runs/pairs [--pairs 12]
writes a contact sheet (content, style, ours, Magenta's) and a table of means, and prints the table.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import torch
from measuring import metrics, pairs, table, tiled
from torch import Tensor

from velatura import Studio
from velatura.app.options import parse_settings
from velatura.models.features.magenta import paint_over, style_vectors
from velatura.training.check import grid

SIDE = 256
TILE = (256, 256)
TAKEN = ("psnr ↑", "ssim ↑", "edge F1 ↑", "lpips-hedvgg ↓", "Gram ↓", "Magenta cosine ↑", "colour ↓")


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
    method, settings = parse_settings("guided", asked.settings, asked.losses)
    studio = Studio(asked.model)
    taken = metrics(studio.backbone, *TAKEN)
    rows: dict[str, list[Tensor]] = {"the photo itself": [], "Magenta's transfer": [], "guided": []}
    tiles, seconds = [], []
    for pair in pairs(asked.contents, asked.styles, asked.pairs, SIDE):
        started = time.perf_counter()
        result = studio.stylize(pair.content, style=pair.style, seed=0, method=method, **settings)
        seconds.append(time.perf_counter() - started)
        magenta = paint_over(pair.c, style_vectors(pair.s))
        results = {"the photo itself": pair.c, "Magenta's transfer": magenta, "guided": pair.as_pixels(result.picture)}
        for name, picture in results.items():
            rows[name].append(pair.measured(picture, taken).clamp(max=100))
        tiles.append(tiled((pair.content.image, pair.style.image, result.picture), TILE))
        tiles.append(torch.nn.functional.interpolate(magenta, TILE, mode="bicubic"))
    asked.out.mkdir(parents=True, exist_ok=True)
    grid(torch.cat(tiles), 8).save(asked.out / "sheet.jpg", quality=92)
    means = table(TAKEN, {name: torch.stack(found).mean(0).tolist() for name, found in rows.items()})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    median = sorted(seconds)[len(seconds) // 2]
    means += f"\n\n{asked.pairs} pairs; {median:.1f} s a picture (median), peak {peak:.1f} GiB\n"
    (asked.out / "table.md").write_text(means)
    print(means)


if __name__ == "__main__":
    main()
