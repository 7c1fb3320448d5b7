"""Segmentation from a box, points or a text with FastSAM (Zhao et al. 2023), which DiffStyler used, from ultralytics.

An extra (``pip install 'velatura[fastsam]'``) because ultralytics and its weights are under the AGPL-3.0. ultralytics
fetches and unpickles the weights itself, so this is only used when the user asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from velatura.errors import ModelError, SettingError
from velatura.regions.masks import Mask, united

Point = tuple[float, float]
FASTSAM = "FastSAM-s.pt"


@lru_cache(maxsize=1)
def _fastsam() -> Any:
    try:
        from ultralytics import FastSAM
    except ImportError:
        raise ModelError(
            "FastSAM is an extra under the AGPL-3.0: install it with pip install 'velatura[fastsam]', or leave out "
            "fastsam: and cut without it."
        ) from None
    try:
        return FastSAM(FASTSAM)
    except Exception as error:
        raise ModelError(
            f"FastSAM's weights {FASTSAM} could not be had ({type(error).__name__}): connect once, or leave out "
            "fastsam: and cut without them."
        ) from None


def box_mask(image: Image.Image, box: tuple[float, float, float, float]) -> Mask:
    """The object in ``box`` (x0, y0, x1, y1 in pixels), (H, W) in {0, 1}."""
    return _found(image, "in the box", bboxes=[list(box)])


def points_mask(image: Image.Image, points: Sequence[Point], others: Sequence[Point] = ()) -> Mask:
    """The objects under ``points`` (x, y in pixels) and not under ``others``, (H, W) in {0, 1}."""
    places, labels = [list(point) for point in (*points, *others)], [1] * len(points) + [0] * len(others)
    return _found(image, "at the points", points=places, labels=labels)


def text_mask(image: Image.Image, text: str) -> Mask:
    """The segments that ``text`` names by CLIP similarity, (H, W) in {0, 1}."""
    return _found(image, f"like '{text}'", texts=text)


def _found(image: Image.Image, what: str, **prompts: Any) -> Mask:
    result = _fastsam().predict(image.convert("RGB"), verbose=False, retina_masks=True, **prompts)[0]
    if result.masks is None or not len(result.masks.data):
        raise SettingError(f"FastSAM found nothing {what}: try another place or word, or leave out fastsam:.")
    masks = torch.as_tensor(result.masks.data).float().cpu()[:, None]
    sized = F.interpolate(masks, image.size[::-1], mode="nearest")[:, 0].numpy()
    return united([np.asarray(mask > 0.5, dtype=np.float32) for mask in sized])
