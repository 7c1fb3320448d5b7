"""The picture of docs/diffstyler.md: content, mask from a box, two styles, the cup alone, cup and table, everywhere.

python examples/diffstyler_page.py [OUT]   (offline, about two minutes on two cores)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data

from velatura import Studio
from velatura.app.terminal import TerminalProgress
from velatura.evaluation.painted_styles import whirls
from velatura.picture import Picture, image_to_pixels
from velatura.regions import parse_query
from velatura.training.check import grid

TILE = (240, 240)
CUP = "box:150,10,445,375"


def hue_turned(image: Image.Image, turn: int) -> Image.Image:
    """The same strokes in other colours."""
    hsv = np.asarray(image.convert("HSV")).copy()
    hsv[..., 0] += np.uint8(turn)
    return Image.fromarray(hsv, "HSV").convert("RGB")


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures/diffstyler.jpg")
    studio = Studio("house", device="cpu", progress=TerminalProgress())
    photo = Picture.of(Image.fromarray(data.coffee()), "coffee")
    night, dawn = whirls(), hue_turned(whirls(), 110)
    first, second = (
        studio.fit(Picture.of(image, name), name, "diffstyler") for image, name in ((night, "night"), (dawn, "dawn"))
    )
    cup = parse_query(CUP)
    alone = studio.stylize_regions(photo, [(cup, first)])
    both = studio.stylize_regions(photo, [(lambda picture: 1 - cup(picture), second), (cup, first)])
    everywhere = studio.stylize(photo, first, 0, "diffstyler")
    mask = alone.layers["mask0"]
    shown = [photo.image, mask, night, dawn, alone.picture, both.picture, everywhere.picture]
    grid(torch.cat([image_to_pixels(image, TILE) for image in shown]), len(shown)).save(out, quality=90)
    print(out)


if __name__ == "__main__":
    main()
