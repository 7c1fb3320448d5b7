"""What Python callers hand over as a picture: a path, a URL, bytes, a PIL image, an array, a tensor."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image
from torch import Tensor

from velatura.errors import PictureError
from velatura.picture import Picture, open_picture, pixels_to_image
from velatura.picture.reading import MAX_BYTES, picture_of_bytes

PictureLike = str | Path | bytes | Picture | Image.Image | np.ndarray[Any, Any] | Tensor

TOLERANCE = 0.01  # by which floats may overshoot their range: resampling does that
TIMEOUT = 30.0  # seconds without an answer until a server is given up
URL_SCHEMES = ("http", "https")


def as_picture(source: PictureLike) -> Picture:
    """A picture of any kind that callers have.

    A path or http(s) URL; the bytes of a file; a PIL image; an array (H, W), (H, W, 3) or (H, W, 4) of bytes or of
    floats in [0, 1]; a tensor (3, H, W) or (1, 3, H, W) in [-1, 1]. Raises PictureError for anything else.
    """
    if isinstance(source, Image.Image | np.ndarray | Tensor) and 0 in _sides(source):
        raise PictureError("The picture is empty: one of its sides has no pixels.")
    if isinstance(source, Picture):
        return source
    if isinstance(source, bytes):
        return picture_of_bytes(source, "picture")
    if isinstance(source, Image.Image):
        return Picture.of(source)
    if isinstance(source, Tensor):
        return Picture.of(_image_of_tensor(source))
    if isinstance(source, np.ndarray):
        return Picture.of(_image_of_array(source))
    if isinstance(source, str) and urlsplit(source).scheme in URL_SCHEMES:
        return _of_url(source)
    if isinstance(source, str | Path):
        return open_picture(source)
    raise PictureError(
        f"A {type(source).__name__} is no picture: give a path, a URL, bytes, a PIL image, an array or a "
        "tensor, or a list of them to stylize."
    )


def _sides(source: Image.Image | np.ndarray[Any, Any] | Tensor) -> tuple[int, ...]:
    return source.size if isinstance(source, Image.Image) else tuple(source.shape)


def _check_range(low: float, high: float, least: float) -> None:
    """Raise PictureError for numbers outside [``least``, 1], give or take a hundredth."""
    if low < least - TOLERANCE or high > 1 + TOLERANCE:
        raise PictureError(
            f"The picture's numbers reach from {low:.3g} to {high:.3g}, but floats must lie in [{least:g}, 1]: scale "
            "them first, or give bytes."
        )


def _of_url(url: str) -> Picture:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content = answer.read(MAX_BYTES + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise PictureError(f"{url} cannot be fetched ({error}): check the address, or give a file.") from None
    if len(content) > MAX_BYTES:
        raise PictureError(f"{url} is larger than {MAX_BYTES // 2**20} MiB: give a smaller picture.")
    return picture_of_bytes(content, Path(urlsplit(url).path).stem or "picture")


def _image_of_tensor(tensor: Tensor) -> Image.Image:
    pixels = tensor[None] if tensor.dim() == 3 else tensor
    if pixels.dim() != 4 or pixels.shape[:2] != (1, 3) or not tensor.is_floating_point():
        raise PictureError(
            f"A tensor of shape {tuple(tensor.shape)} and {tensor.dtype} is no picture: give (3, H, W) or "
            "(1, 3, H, W), floating, in [-1, 1]."
        )
    if not bool(pixels.isfinite().all()):
        raise PictureError("The tensor holds numbers that are not finite: no picture can be made of it.")
    _check_range(float(pixels.min()), float(pixels.max()), -1)
    return pixels_to_image(pixels)


def _image_of_array(array: np.ndarray[Any, Any]) -> Image.Image:
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not shaped or not (array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)):
        raise PictureError(
            f"An array of shape {array.shape} and {array.dtype} is no picture: give (H, W), (H, W, 3) or (H, W, 4), of "
            "uint8 or of floats in [0, 1]."
        )
    if array.dtype == np.uint8:
        return Image.fromarray(array)
    if not np.isfinite(array).all():
        raise PictureError("The array holds numbers that are not finite: no picture can be made of it.")
    _check_range(float(array.min()), float(array.max()), 0)
    return Image.fromarray((array.clip(0, 1) * 255).round().astype(np.uint8))
