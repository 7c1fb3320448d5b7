"""Segmentation of a whole picture into numbered segments (Felzenszwalb & Huttenlocher 2004); no learned weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from velatura.errors import SettingError
from velatura.regions.masks import Mask

MOST = 20
LEAST_SHARE = 0.01  # of the picture, below which a segment joins a neighbour
WORKING_SIDE = 320  # of the longer side

Labels = NDArray[np.int64]


def segments(image: Image.Image) -> Labels:
    """(H, W): each pixel's segment number, at most ``MOST`` of them, 1 the largest."""
    from skimage.color import rgb2lab
    from skimage.segmentation import felzenszwalb

    scale = min(1.0, WORKING_SIDE / max(image.size))
    size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    lab = rgb2lab(np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))) / 100
    least, found = LEAST_SHARE, np.zeros(lab.shape[:2], np.int64)
    for _ in range(8):
        found = felzenszwalb(lab, scale=150, sigma=1.0, min_size=max(1, int(least * found.size)), channel_axis=-1)
        if found.max() < MOST:
            break
        least *= 1.5
    return _by_area(_scaled(found, image.size))


def segments_mask(image: Image.Image, numbers: Sequence[int]) -> Mask:
    """The union of the segments of those ``numbers``, (H, W) in {0, 1}. Raises SettingError for an unknown number."""
    found = segments(image)
    for number in numbers:
        if not 1 <= number <= found.max():
            raise SettingError(f"There is no segment {number}: the picture has segments 1 to {found.max()}.")
    return np.isin(found, numbers).astype(np.float32)


def everything_picture(image: Image.Image) -> Image.Image:
    """The picture with its segments tinted, outlined and numbered."""
    import cv2
    from skimage.segmentation import find_boundaries

    found = segments(image)
    hues = (np.arange(found.max() + 1) * 47 % 180).astype(np.uint8)
    strong = np.full_like(hues, 200)
    palette: Any = cv2.cvtColor(np.stack([hues, strong, strong], -1)[None], cv2.COLOR_HSV2RGB)[0]
    tinted = 0.55 * np.asarray(image.convert("RGB")) + 0.45 * palette[found]
    tinted[find_boundaries(found)] = 255
    drawn = Image.fromarray(tinted.astype(np.uint8))
    canvas, height = ImageDraw.Draw(drawn), max(12, min(image.size) // 20)
    for number in range(1, found.max() + 1):
        depth = cv2.distanceTransform(np.pad((found == number).astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        place = (int(x), int(y))
        canvas.text(place, str(number), "white", anchor="mm", font_size=height, stroke_width=2, stroke_fill="black")
    return drawn


def _scaled(labels: NDArray[Any], size: tuple[int, int]) -> Labels:
    image = Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(image).astype(np.int64)


def _by_area(labels: Labels) -> Labels:
    """The same segments, numbered from 1 by falling area."""
    counts = np.bincount(labels.ravel())
    kinds = np.flatnonzero(counts)
    rank = np.zeros(len(counts), np.int64)
    rank[kinds[np.argsort(-counts[kinds], kind="stable")]] = np.arange(1, len(kinds) + 1)
    numbered: Labels = rank[labels]
    return numbered
