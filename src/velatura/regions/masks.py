"""Soft masks (H, W), float32 in [0, 1], and operations on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from velatura.errors import SettingError

Mask = NDArray[np.float32]
GUIDED_VARIANCE = 1e-3  # of a colour (0..1) in a window of the guided filter, above which it has an edge


def mask_of_image(image: Image.Image, size: tuple[int, int]) -> Mask:
    """A picture's luma as a mask, white is 1, scaled to ``size`` (width, height)."""
    gray = image.convert("L")
    if gray.size != size:
        gray = gray.resize(size, Image.Resampling.BOX if gray.width > size[0] else Image.Resampling.BILINEAR)
    return np.asarray(gray, dtype=np.float32) / np.float32(255)


def image_of_mask(mask: Mask) -> Image.Image:
    """A mask as an 8-bit gray picture."""
    return Image.fromarray((mask.clip(0, 1) * 255).round().astype(np.uint8))


def polygon_mask(size: tuple[int, int], corners: Sequence[tuple[float, float]]) -> Mask:
    """The inside of the polygon ``corners`` (x, y in pixels) in a picture of ``size`` (width, height).

    Raises SettingError for fewer than three corners.
    """
    if len(corners) < 3:
        raise SettingError(f"A polygon needs at least 3 corners, not {len(corners)}: give polygon:x,y;x,y;x,y.")
    drawn = Image.new("L", size)
    ImageDraw.Draw(drawn).polygon(list(corners), fill=255)
    return mask_of_image(drawn, size)


def grown(mask: Mask, pixels: int) -> Mask:
    """The mask dilated by a disc of radius ``pixels``, or eroded where negative."""
    import cv2

    if pixels == 0:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(pixels) + 1, 2 * abs(pixels) + 1))
    moved = cv2.dilate(mask, disc) if pixels > 0 else cv2.erode(mask, disc)
    return np.asarray(moved, dtype=np.float32)


def feathered(mask: Mask, pixels: float) -> Mask:
    """The mask blurred by a Gaussian of deviation ``pixels / 2``: edges soften over ``pixels`` to each side."""
    import cv2

    if pixels <= 0:
        return mask
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), pixels / 2), dtype=np.float32).clip(0, 1)


def refined(covers: Sequence[Mask], guide: Image.Image, radius: int) -> list[Mask]:
    """Masks whose edges follow those of the picture ``guide`` within ``radius`` pixels: the guided filter (He et al.
    2013) over its colours.

    The filter is linear, so that masks that sum to 1 still do; together they are nowhere more than before, so that what
    lay outside of all stays outside.
    """
    import torch
    from kornia.filters import guided_blur

    edged = [index for index, cover in enumerate(covers) if cover.min() < cover.max()]
    if not edged:  # such as that of the whole picture
        return list(covers)
    colours = torch.from_numpy(np.asarray(guide.convert("RGB"), dtype=np.float32) / 255).permute(2, 0, 1)[None]
    soft = np.stack(covers)
    masks = torch.from_numpy(soft[edged])[None]  # without the others, beside which it would round differently
    skipped = max(1, radius // 4)  # He and Sun 2015: its coefficients are smooth, a quarter of the radius is as good
    soft[edged] = guided_blur(colours, masks, 2 * radius + 1, GUIDED_VARIANCE, subsample=skipped)[0].clamp(0, 1)
    total, allowed = soft.sum(0), np.sum(covers, axis=0)
    share = np.divide(allowed, total, out=np.zeros_like(total), where=total > 0).clip(0, 1)
    return [np.asarray(each * share, dtype=np.float32) for each in soft]


def united(masks: list[Mask]) -> Mask:
    """The union (maximum) of masks."""
    return np.asarray(np.maximum.reduce(masks), dtype=np.float32)


def without(mask: Mask, other: Mask) -> Mask:
    """The mask times one minus the other."""
    return np.asarray(mask * (1 - other), dtype=np.float32)


def over(stylised: Image.Image, content: Image.Image, cover: Mask) -> Image.Image:
    """The stylised picture blended over the content by ``cover``; where that is 0, exactly the content's pixels."""
    ours, theirs = (np.asarray(image.convert("RGB"), dtype=np.float32) for image in (stylised, content))
    mixed = ours * cover[..., None] + theirs * (1 - cover[..., None])
    return Image.fromarray(np.where(cover[..., None] == 0, theirs, mixed).round().clip(0, 255).astype(np.uint8))
