"""ComfyUI's IMAGE (B, H, W, C) and MASK (B, H, W), floats in [0, 1], to pictures and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from velatura.errors import SettingError
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


def masks_of(mask: Tensor, count: int, whose: str) -> list[Image.Image]:
    """The masks of a MASK for ``count`` pictures. Raises what ``check_masks`` does."""
    masks = mask_pictures(mask)
    check_masks(len(masks), count, whose)
    return masks


def check_masks(masks: int, pictures: int, whose: str) -> None:
    """Raise SettingError unless there is one mask for all pictures, or one for each."""
    if masks not in (1, pictures):
        raise SettingError(
            f"{whose} has {masks} masks for a batch of {pictures}: give it one mask, or one for each picture."
        )
