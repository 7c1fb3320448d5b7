"""The picture of docs/guided.md: content, style, our default, the poster's sum, and single style losses.

python examples/guided_page.py [OUT]   (offline, about three minutes on two cores)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from skimage import data

from velatura import Studio
from velatura.app.terminal import TerminalProgress
from velatura.evaluation.painted_styles import whirls
from velatura.picture import Picture, image_to_pixels
from velatura.registry import preset_settings
from velatura.training.check import grid

TILE = (240, 240)
KEPT = {"mse": 0.3, "vgg": 0.5, "range": 1.0}
ALONE: dict[str, Any] = {
    "start": "inversion",
    "palette": 0.0,
    "contrast": 0.0,
    "sharpness": 0.0,
    "flat_push": 1.0,
    "prompt": "",
    "guidance_scale": 1.0,
}
RUNS: tuple[dict[str, Any], ...] = (
    {},
    dict(preset_settings("guided", "poster")),
    {**ALONE, "weights": {**KEPT, "clip": 3.0}},
    {**ALONE, "weights": {**KEPT, "clip_dir_patch": 3.0}},
    {**ALONE, "weights": {**KEPT, "gram": 6.0}},
    {**ALONE, "weights": {**KEPT, "texture": 3.0, "palette": 6.0}},
)


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures/guided.jpg")
    studio = Studio("house", device="cpu", progress=TerminalProgress())
    style = Picture.of(whirls(), "whirls")
    fitted = studio.fit(style, method="guided")
    content = Picture.of(Image.fromarray(data.coffee()), "coffee")
    shown = [content.image, style.image]
    shown += [studio.stylize(content, fitted, 0, "guided", size=256, **settings).picture for settings in RUNS]
    grid(torch.cat([image_to_pixels(image, TILE) for image in shown]), len(RUNS) + 2).save(out, quality=90)
    print(out)


if __name__ == "__main__":
    main()
