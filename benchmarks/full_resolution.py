"""What painting at full size costs, and whether its tiles show: seconds, memory, gradients across seams.

python benchmarks/full_resolution.py PHOTO STYLE --out runs/full [--megapixels 1 3 12] [--method guided]
enlarges the photo to each size, paints it with --size full and prints a table. A seam is the middle of an overlap of
two tiles; gradients across seams are those of the columns and rows around, over those of the picture's other ones, and
the same of the composition, which was enlarged without tiles, is divided out. One process for each size gives each its
own peak of memory.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from velatura import Studio
from velatura.app.options import parse_settings
from velatura.methods.base import WorkingPicture
from velatura.methods.tiling import repainting
from velatura.methods.tiling.autoencoding import cells_of
from velatura.methods.tiling.grid import Grid, Strip
from velatura.models.backbone import Backbone
from velatura.picture import pixels_to_image

NEAR = 6  # pixels on each side of a seam that count as it


class Composition:
    """Keeps the picture that painting starts from."""

    def __init__(self) -> None:
        self.image: Image.Image | None = None
        self._painted = repainting.repainted
        repainting.repainted = self._keep

    def _keep(self, method, content: WorkingPicture, pixels, context):  # type: ignore[no-untyped-def]
        self.image = pixels_to_image(pixels)
        return self._painted(method, content, pixels, context)


def seam_ratio(picture: Image.Image, enlarged: Image.Image, grid: Grid) -> float:
    """Mean gradient across seams over that elsewhere, in a picture against the same in its composition."""
    ratios = []
    for image in (picture, enlarged):
        gray = np.asarray(image.convert("L"), np.float32)
        across = [
            (np.abs(np.diff(gray, axis=1)).mean(0), grid.columns),
            (np.abs(np.diff(gray, axis=0)).mean(1), grid.rows),
        ]
        sides = [
            (profile[seam_mask(strip, len(profile))], profile[~seam_mask(strip, len(profile))])
            for profile, strip in across
            if len(strip.starts) > 1
        ]
        near, far = (np.concatenate(part) for part in zip(*sides, strict=True))
        ratios.append(near.mean() / far.mean())
    return float(ratios[0] / ratios[1])


def seam_mask(strip: Strip, length: int) -> np.ndarray:
    """Which of ``length`` columns or rows lie near a seam."""
    mask = np.zeros(length, bool)
    for left, right in pairwise(strip.starts):
        seam = (left + strip.length + right) // 2
        mask[seam - NEAR : seam + NEAR] = True
    return mask


def seam_grid(size: tuple[int, int], backbone: Backbone) -> Grid:
    """The tiles that a picture of ``size`` is painted in, in pixels."""
    side = max(repainting.TILE, backbone.native_size) // backbone.factor
    return Grid.over(cells_of(size, backbone), side, backbone.factor)


def measured(asked: argparse.Namespace, megapixels: float) -> str:
    """A row of the table; the picture and its composition are saved."""
    photo = Image.open(asked.photo).convert("RGB")
    scale = math.sqrt(megapixels * 1e6 / (photo.width * photo.height))
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
    method, settings = parse_settings(asked.method, asked.settings, None)
    studio, composition = Studio(asked.model), Composition()
    result = studio.stylize(photo, asked.style, method=method, **{**settings, "resolution": "full"})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    enlarged = composition.image.resize(photo.size, Image.Resampling.BICUBIC)
    ratio = seam_ratio(result.picture, enlarged, seam_grid(photo.size, studio.backbone))
    asked.out.mkdir(parents=True, exist_ok=True)
    name = f"{asked.method}-{megapixels:g}mp"
    photo.save(asked.out / f"{name}-photo.jpg", quality=95)
    enlarged.save(asked.out / f"{name}-enlarged.jpg", quality=95)
    result.picture.save(asked.out / f"{name}.png")
    seconds = result.manifest["seconds"]
    return f"| {asked.method} | {photo.width} x {photo.height} | {seconds:.0f} | {peak:.2f} | {ratio:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("style", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/full"))
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 3, 12])
    parser.add_argument("--method", default="guided")
    parser.add_argument("--model", default="house")
    parser.add_argument("--set", action="append", dest="settings")
    asked = parser.parse_args()
    if len(asked.megapixels) == 1:
        print(measured(asked, asked.megapixels[0]))
        return
    print("| method | size | seconds | peak GiB | gradient across seams |\n|---|---|---|---|---|", flush=True)
    options = ["--out", str(asked.out), "--method", asked.method, "--model", asked.model]
    options += [part for setting in asked.settings or [] for part in ("--set", setting)]
    for megapixels in asked.megapixels:
        own = [sys.executable, __file__, str(asked.photo), str(asked.style), "--megapixels", str(megapixels), *options]
        subprocess.run(own, check=True)


if __name__ == "__main__":
    main()
