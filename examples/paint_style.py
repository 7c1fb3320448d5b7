"""Paint a style picture: thousands of short strokes along a field of whirls, in a night's colours.

It is the project's own (Apache-2.0), so that the demo needs nobody's painting.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 512
NIGHT = [(16, 32, 84), (28, 60, 130), (46, 98, 168), (96, 150, 190), (22, 44, 60)]
LIGHT = [(246, 202, 76), (252, 226, 130), (238, 160, 44)]
EARTH = [(30, 40, 34), (54, 74, 44), (96, 104, 60), (120, 72, 40)]


def paint(seed: int = 0) -> Image.Image:
    """A 512 x 512 picture; the same seed paints the same strokes."""
    rng = np.random.default_rng(seed)
    whirls = np.column_stack([rng.uniform(0, SIDE, 9), rng.uniform(0, SIDE * 0.62, 9), rng.choice([-1, 1], 9)])
    picture = Image.new("RGB", (SIDE, SIDE), NIGHT[0])
    draw = ImageDraw.Draw(picture)
    for width, length, count in ((11, 46, 2600), (7, 34, 6500), (4, 24, 9000)):
        for x, y in rng.uniform(-10, SIDE + 10, (count, 2)):
            offset = whirls[:, :2] - (x, y)
            distance = np.hypot(offset[:, 0], offset[:, 1])
            near = np.exp(-((distance / 62) ** 2)) * whirls[:, 2]
            flow = np.array(
                [1.0 + (near * offset[:, 1]).sum() / 9, 0.25 * np.sin(x / 70) - (near * offset[:, 0]).sum() / 9]
            )
            angle = np.arctan2(flow[1], flow[0]) + rng.normal(0, 0.12)
            palette = _palette(y, distance.min(), rng)
            colour = tuple(int(np.clip(c + rng.normal(0, 13), 0, 255)) for c in palette[rng.integers(len(palette))])
            reach = length * rng.uniform(0.6, 1.2) / 2
            step = np.array([np.cos(angle), np.sin(angle)]) * reach
            draw.line([x - step[0], y - step[1], x + step[0], y + step[1]], fill=colour, width=width)
    return picture.filter(ImageFilter.UnsharpMask(2, 60, 0))


def _palette(y: float, distance: float, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    if y > SIDE * (0.74 + 0.03 * rng.normal()):
        return EARTH
    return LIGHT if distance < 26 + 10 * rng.random() else NIGHT


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "style.png")
    paint().save(target)
    print(target)
