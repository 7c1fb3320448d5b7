"""What a metric may be given as a picture, and the check of it: the one door where pictures become pixels."""

from __future__ import annotations

from typing import TypeAlias

import torch
from PIL import Image
from torch import Tensor

from velatura.picture import Picture, image_to_pixels

PictureLike: TypeAlias = Tensor | Image.Image | Picture

FARTHEST = 2.0  # from 0: results may overshoot [-1, 1] a little, bytes and their floats go far beyond


def pixels_of(picture: PictureLike) -> Tensor:
    """A picture as (1, 3, H, W) in [-1, 1], float32; a tensor, of one or several, is checked, and returned as it is
    where it is float32.

    Raises ValueError for a tensor that is not (B, 3, H, W), is of bytes or integers, or holds numbers that are not
    finite or far out of [-1, 1]; TypeError for what is no picture, a path too.

    >>> pixels_of(Image.new("RGB", (4, 2), "white")).shape
    torch.Size([1, 3, 2, 4])
    """
    if isinstance(picture, Tensor):
        _check(picture)
        return picture.float()
    if isinstance(picture, Picture):
        return image_to_pixels(picture.image)
    if isinstance(picture, Image.Image):
        return image_to_pixels(picture)
    raise TypeError(
        f"A {type(picture).__name__} is no picture: give a tensor (B, 3, H, W) in [-1, 1] or a PIL image, and open a "
        "file with PIL.Image.open first."
    )


def paired_pixels(result: PictureLike, reference: PictureLike) -> tuple[Tensor, Tensor]:
    """Two pictures, or as many of one as of the other, as pixels; their sizes may differ.

    Raises what ``pixels_of`` does, and ValueError for unequal numbers of pictures.
    """
    ours, theirs = pixels_of(result), pixels_of(reference)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} results and {len(theirs)} pictures to compare them with: give one each.")
    return ours, theirs


def aligned_pixels(result: PictureLike, content: PictureLike) -> tuple[Tensor, Tensor]:
    """``paired_pixels`` of one size. Raises what it does, and ValueError for pictures of different sizes."""
    ours, theirs = paired_pixels(result, content)
    if ours.shape != theirs.shape:
        sizes = " and ".join(f"{pixels.shape[3]} x {pixels.shape[2]}" for pixels in (ours, theirs))
        raise ValueError(f"The pictures are of different sizes, {sizes}: scale one to the other's size first.")
    return ours, theirs


def _check(pixels: Tensor) -> None:
    """Raise ValueError for a tensor that is no pictures (B, 3, H, W) in [-1, 1]."""
    if pixels.dim() != 4 or pixels.shape[1] != 3 or not pixels.numel():
        advice = "one picture is tensor[None]" if pixels.dim() == 3 else "give that"
        raise ValueError(f"A tensor of shape {tuple(pixels.shape)} is no pictures (B, 3, H, W): {advice}.")
    if not pixels.is_floating_point():
        raise ValueError(f"The pixels are {pixels.dtype}, not floats in [-1, 1]: divide bytes by 127.5 and subtract 1.")
    low, high = (float(end) for end in torch.aminmax(pixels.detach()))
    if not (torch.finfo(pixels.dtype).min <= low and high <= torch.finfo(pixels.dtype).max):  # false of NaN too
        raise ValueError("The pixels hold numbers that are not finite: such a picture has no score.")
    if max(-low, high) > FARTHEST:
        raise ValueError(
            f"The pixels reach from {low:.3g} to {high:.3g}, not from -1 to 1: divide 0..255 by 127.5 and subtract 1."
        )
