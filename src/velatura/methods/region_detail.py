"""Detail of a photo in its stylised regions: what the working size could not hold, and what a style wiped away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from velatura.regions.masks import Mask

FINE = 2.5  # working pixels: the deviation of the Gaussian above which a form is no detail
LEAST = 3.0  # of L (0..100): the least deviation that counts as a region's contrast
SHARPEST = 1.2  # times as strong as the photo's: the most that a region's own detail is, in root mean square
CALMEST = 0.6  # of a region's own detail is kept at least: strokes in a sky are meant to be there
ENDS = (4.0, 251.0)  # detail drives no colour beyond

Array = NDArray[np.float32]


def with_detail(
    picture: Image.Image, photo: Image.Image, parts: Sequence[Mask], working_side: int, share: float
) -> Image.Image:
    """A stylised picture with ``share`` (0..1) of the photo's detail in L, of the same size, where that is stronger;
    its own is calmed where it would be sharper than the photo around it.

    Detail is finer than 2.5 pixels of the working size, whose short side ``working_side`` is. In each of the ``parts``
    (H, W) the photo's is scaled by the root of the ratio of contrasts, so that a pale style stays pale.
    """
    import cv2

    if not share:
        return picture
    deviation = FINE * max(1.0, min(picture.size) / working_side)
    lab, theirs = _lab(picture), _lab(photo)[..., 0]
    ours = lab[..., 0].copy()
    own, wanted = (each - cv2.GaussianBlur(each, (0, 0), deviation) for each in (ours, theirs))
    added = np.zeros_like(own)
    for part in parts:
        if (part > 0.5).any():
            scaled = wanted * np.float32(min(1.0, _contrast(ours, part) / _contrast(theirs, part)) ** 0.5)
            calm = own * np.float32(np.clip(SHARPEST * _strength(wanted, part) / _strength(own, part), CALMEST, 1))
            added += part * (np.where(np.abs(scaled) > np.abs(calm), scaled, calm) - own)
    lab[..., 0] += np.float32(share) * added
    before = np.asarray(picture.convert("RGB"), dtype=np.float32)
    detailed = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * 255
    after = detailed.clip(np.minimum(before, ENDS[0]), np.maximum(before, ENDS[1]))
    return Image.fromarray(np.where(added[..., None] == 0, before, after).round().astype(np.uint8))


def _lab(image: Image.Image) -> Array:
    """CIE Lab (H, W, 3), L from 0 to 100."""
    import cv2

    rgb = np.asarray(image.convert("RGB"), dtype=np.float32) / np.float32(255)
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), dtype=np.float32)


def _strength(detail: Array, part: Mask) -> float:
    """The root mean square of detail in a part of the picture."""
    return max(1e-6, float(np.sqrt((detail[part > 0.5] ** 2).mean())))


def _contrast(luminance: Array, part: Mask) -> float:
    """The deviation of L in a part of the picture."""
    return max(LEAST, float(luminance[part > 0.5].std()))
