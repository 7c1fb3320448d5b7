"""The pictures of docs/gallery.md: every method's defaults on free photos and the project's own styles, none chosen.

python examples/gallery.py [FOLDER] [METHOD ...]   (offline; one sheet a method, about ten minutes each on one core)
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image
from skimage import data

from velatura import Studio
from velatura.app.terminal import TerminalProgress
from velatura.evaluation.painted_styles import PAINTED_STYLES
from velatura.picture import Picture, image_to_pixels
from velatura.training.check import grid

SIDE = 256
PHOTOS = ("astronaut", "chelsea", "coffee")
METHODS = ("guided", "fast", "s2prest", "inst", "diffstyler", "styleid")


def photo(name: str) -> Picture:
    """The middle square of one of scikit-image's photos."""
    image = Image.fromarray(getattr(data, name)())
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return Picture.of(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS), name)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures")
    folder.mkdir(parents=True, exist_ok=True)
    studio = Studio("house", device="cpu", progress=TerminalProgress())
    styles = [Picture.of(paint(0), name) for name, paint in PAINTED_STYLES.items()]
    for method in sys.argv[2:] or METHODS:
        fitted = [studio.fit(style, method=method) for style in styles]
        shown = [Image.new("RGB", (SIDE, SIDE), "white"), *(style.image for style in styles)]
        for name in PHOTOS:
            content = photo(name)
            shown.append(content.image)
            shown += [studio.stylize(content, style, 0, method).picture for style in fitted]
        sheet = grid(torch.cat([image_to_pixels(image, (SIDE, SIDE)) for image in shown]), len(styles) + 1)
        target = folder / f"gallery-{method}.jpg"
        sheet.save(target, quality=88)
        print(target)


if __name__ == "__main__":
    main()
