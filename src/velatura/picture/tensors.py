"""Conversion between PIL images and tensors."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


def image_to_pixels(image: Image.Image, size: tuple[int, int] | None = None) -> Tensor:
    """An image, scaled to ``size`` (width, height) if given, as RGB (1, 3, H, W), float in [-1, 1]."""
    rgb = image.convert("RGB")
    if size is not None and size != rgb.size:
        rgb = rgb.resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(rgb).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def pixels_to_image(pixels: Tensor, size: tuple[int, int] | None = None) -> Image.Image:
    """(1, 3, H, W) in [-1, 1], clamped and rounded, as an RGB image, scaled to ``size`` (width, height) if given."""
    scaled = ((pixels.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    image = Image.fromarray(scaled[0].permute(1, 2, 0).contiguous().numpy())
    if size is not None and size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image


def covering(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image scaled to cover ``size`` (width, height) and cropped to its centre."""
    return ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS)
