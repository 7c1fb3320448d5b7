"""ComfyUI's IMAGE (B, H, W, C) and MASK (B, H, W), floats in [0, 1], to pictures and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from velatura.picture import Picture


def _bytes(values: Tensor) -> np.ndarray:
    return (values.detach().cpu().float().clamp(0, 1) * 255).round().byte().numpy()


def pictures_of_image(image: Tensor, name: str) -> list[Picture]:
    """The pictures of a batch, numbered by name where there are several."""
    names = [name] if len(image) == 1 else [f"{name}-{index}" for index in range(len(image))]
    return [Picture.of(Image.fromarray(_bytes(row)), each) for row, each in zip(image, names, strict=True)]


def image_of_pictures(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size as an IMAGE of three channels."""
    return torch.from_numpy(np.stack([np.asarray(picture.convert("RGB"), np.float32) / 255 for picture in pictures]))


def mask_pictures(mask: Tensor) -> list[Image.Image]:
    """The masks of a MASK, (B, H, W) or (H, W), as gray pictures."""
    rows = mask if mask.dim() == 3 else mask[None]
    return [Image.fromarray(_bytes(row)) for row in rows]
