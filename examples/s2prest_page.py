"""The picture of docs/s2prest.md: content, style, edges, then InST and S2PreST at several strengths.

python examples/s2prest_page.py [OUT]   (offline, about two minutes on two cores)
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image
from skimage import data

from velatura import Studio
from velatura.app.terminal import TerminalProgress
from velatura.evaluation.painted_styles import whirls
from velatura.picture import Picture, image_to_pixels
from velatura.training.check import grid

TILE = (240, 240)
RUNS = (("inst", 0.4), ("inst", 0.7), ("s2prest", 0.4), ("s2prest", 0.7))


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures/s2prest.jpg")
    studio = Studio("house", device="cpu", progress=TerminalProgress())
    style = Picture.of(whirls(), "whirls")
    fitted = studio.fit(style, method="s2prest")
    photos = [Picture.of(Image.fromarray(photo()), photo.__name__) for photo in (data.chelsea, data.coffee)]
    rows = [[photo.image, style.image] for photo in photos]
    for method, strength in RUNS:
        results = studio.stylize_all(photos, fitted, 0, method, strength=strength)
        for row, result in zip(rows, results, strict=True):
            if len(row) == 4 and method == "s2prest":
                row.insert(2, result.layers["canny"])
            row.append(result.picture)
    tiles = [image_to_pixels(image, TILE) for row in rows for image in row]
    grid(torch.cat(tiles), len(RUNS) + 3).save(out, quality=90)
    print(out)


if __name__ == "__main__":
    main()
