"""Enlarging a picture that was made of a smaller copy of a photo, with the photo's own fine detail."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from velatura.picture.tensors import image_to_pixels

RADIUS = 3  # of the window that gains are measured in, in pixels of the small picture
FLOOR = 2e-3  # variance of luminance in [-1, 1] that counts as noise
MAX_GAIN = 1.5


class Enlarged:
    """A ``result`` made of a ``photo`` at a smaller size, read in boxes at the photo's size.

    What the photo's luminance holds beyond the smaller size is added, times the gain with which the result repeats the
    photo's contrasts at that place: a local regression, as in the guided filter (He et al. 2013). Where the result has
    strokes of its own instead, the gain is near 0.
    """

    def __init__(self, result: Image.Image, photo: Image.Image) -> None:
        self._result, self._photo = result, photo
        self._small = photo.convert("L").resize(result.size, Image.Resampling.LANCZOS)
        self._gains = Image.fromarray(detail_gains(_gray(result), _gray(self._small)).numpy())

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the photo."""
        return self._photo.size

    def pixels(self, left: int, top: int, width: int, height: int) -> Tensor:
        """Pixels (1, 3, height, width) in [-1, 1] of a box; beyond the photo its last row and column are repeated."""
        right, bottom = min(left + width, self._photo.width), min(top + height, self._photo.height)
        inside = self._read(left, top, right, bottom)
        return F.pad(inside, (0, left + width - right, 0, top + height - bottom), mode="replicate")

    def _read(self, left: int, top: int, right: int, bottom: int) -> Tensor:
        size = (right - left, bottom - top)
        scale = (self._result.width / self._photo.width, self._result.height / self._photo.height)
        within = (left * scale[0], top * scale[1], right * scale[0], bottom * scale[1])
        plain = image_to_pixels(self._result.resize(size, Image.Resampling.BICUBIC, within))
        blurred = _gray(self._small.resize(size, Image.Resampling.BICUBIC, within))
        gains = torch.from_numpy(np.array(self._gains.resize(size, Image.Resampling.BILINEAR, within)))
        detail = gains * (_gray(self._photo.crop((left, top, right, bottom))) - blurred)
        return (plain + detail).clamp(-1, 1)


def detail_gains(result: Tensor, photo: Tensor) -> Tensor:
    """The slopes (h, w) of the local regression of one gray picture (h, w) on another, near 0 where that is flat."""
    moments = torch.stack([result, photo, result * photo, photo * photo])[:, None]
    padded = F.pad(moments, [RADIUS] * 4, mode="replicate")
    r, p, rp, pp = F.avg_pool2d(padded, 2 * RADIUS + 1, 1)[:, 0]
    gains: Tensor = (rp - r * p) / (pp - p * p + FLOOR)
    return gains.clamp(-MAX_GAIN, MAX_GAIN)


def _gray(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("L"), dtype=np.float32)) / 127.5 - 1
