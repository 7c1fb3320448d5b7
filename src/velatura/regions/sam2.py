"""Segmentation of an object from a box or points with SAM 2 (Ravi et al. 2024, Apache-2.0 weights)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from velatura.models.loading.hub import pretrained
from velatura.picture import image_to_pixels
from velatura.regions.masks import Mask

SAM2, SIDE = "facebook/sam2.1-hiera-tiny", 1024
Point = tuple[float, float]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@lru_cache(maxsize=1)
def _sam2() -> Any:
    from transformers import Sam2Model

    return pretrained(
        Sam2Model.from_pretrained, SAM2, "connect once, or leave out sam2: and cut without a network"
    ).eval()


def box_mask(image: Image.Image, box: tuple[float, float, float, float]) -> Mask:
    """The object in ``box`` (x0, y0, x1, y1 in pixels), (H, W) in {0, 1}."""
    return _best(image, input_boxes=_scaled([[box]], image))


def points_mask(image: Image.Image, points: Sequence[Point], others: Sequence[Point] = ()) -> Mask:
    """The object under ``points`` (x, y in pixels) and not under ``others``, (H, W) in {0, 1}."""
    labels = torch.tensor([1] * len(points) + [0] * len(others))[None, None]
    return _best(image, input_points=_scaled([[[*points, *others]]], image), input_labels=labels)


def _scaled(places: Any, image: Image.Image) -> Tensor:
    """Coordinates in the picture's pixels as coordinates in SAM's square input."""
    scale = torch.tensor([SIDE / image.width, SIDE / image.height])
    numbers = torch.tensor(places, dtype=torch.float32)
    return numbers * scale.repeat(numbers.shape[-1] // 2)


@torch.no_grad()
def _best(image: Image.Image, **prompts: Tensor) -> Mask:
    """SAM's mask of the highest predicted IoU."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    unit = (image_to_pixels(image.convert("RGB"), (SIDE, SIDE)) + 1) / 2
    outputs = _sam2()(pixel_values=(unit - mean) / std, multimask_output=True, **prompts)
    best = int(outputs.iou_scores[0, 0].argmax())
    logits = outputs.pred_masks[0, 0, best][None, None].float()
    sized = F.interpolate(logits, image.size[::-1], mode="bilinear")[0, 0].numpy()
    return np.asarray(sized > 0, dtype=np.float32)
