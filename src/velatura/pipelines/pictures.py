"""Pictures as diffusers' pipelines take them: PIL images, arrays and tensors in [0, 1], batches and lists of them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from velatura.app.pictures import TOLERANCE, PictureLike, as_picture
from velatura.app.studio import StyleChoice
from velatura.errors import PictureError, SettingError
from velatura.picture import Picture

Array = np.ndarray[Any, Any]


def single(value: Any, name: str) -> Any:
    """The only element of a list, as diffusers takes several things in; anything else as it is.

    Raises SettingError, with the argument's ``name``, for another number of elements.
    """
    while isinstance(value, list | tuple):
        if len(value) != 1:
            raise SettingError(f"{name} takes one for all pictures, not a list of {len(value)}: give one.")
        (value,) = value
    return value


def read_pictures(source: Any) -> list[Picture]:
    """The pictures in the argument ``image``: a list or a batch of several. Floats lie in [0, 1], or with negative ones
    among them in [-1, 1], as diffusers reads an image. Raises PictureError.
    """
    if isinstance(source, list | tuple):
        return [picture for each in source for picture in read_pictures(each)]
    if isinstance(source, Tensor | np.ndarray):
        return [as_picture(row) for row in _rows(source, "image", signed=True)]
    return [as_picture(source)]


def read_picture(source: Any, name: str) -> Picture:
    """The one picture of the argument called ``name``; floats lie in [0, 1]. Raises PictureError, and SettingError for
    several.
    """
    source = single(source, name)
    if isinstance(source, Tensor | np.ndarray):
        return as_picture(single(_rows(source, name), name))
    return as_picture(source)


def read_style(source: Any) -> StyleChoice:
    """The argument ``style``, as a Studio takes it. Raises PictureError, and SettingError for a list of no pairs."""
    if isinstance(source, list | tuple):
        if len(source) == 1 and not _is_pair(source[0]):
            return read_style(source[0])
        if not source or not all(map(_is_pair, source)):
            raise SettingError("style takes one style, or pairs with weights: [(picture, 0.3), (other, 0.7)].")
        return [(_read_one(style), float(weight)) for style, weight in source]
    choice: StyleChoice = source if isinstance(source, Mapping) else _read_one(source)
    return choice


def _read_one(source: Any) -> Any:
    return read_picture(source, "style") if isinstance(source, Tensor | np.ndarray) else source


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[1], Real)


def _rows(source: Tensor | Array, name: str, signed: bool = False) -> list[PictureLike]:
    """Arrays (H, W) or (H, W, C) of bytes or of floats in [0, 1], of an array or tensor that may be a batch."""
    array, channels = (_of_tensor(source), -3) if isinstance(source, Tensor) else (source, -1)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    floats = np.issubdtype(array.dtype, np.floating)
    fits = array.ndim in (2, 3, 4) and (array.ndim == 2 or array.shape[-1] in (1, 3, 4))
    if not fits or not (floats or array.dtype == np.uint8):
        asked = "(3, H, W), (1, H, W) or (H, W)" if channels == -3 else "(H, W, 3), (H, W, 1) or (H, W)"
        raise PictureError(
            f"{name} of shape {tuple(source.shape)} and {source.dtype} is no picture: give {asked}, or a batch, of "
            "bools, bytes or floats in [0, 1]."
        )
    if floats and array.size:
        array = _in_unit_range(array, name, signed)
    rows = list(array) if array.ndim == 4 else [array]
    return [row[..., 0] if row.ndim == 3 and row.shape[-1] == 1 else row for row in rows]


def _of_tensor(tensor: Tensor) -> Array:
    """A tensor's values as an array with the channels last."""
    values = tensor.detach().cpu()
    values = values.float() if values.is_floating_point() else values
    array: Array = (values.movedim(-3, -1) if values.dim() >= 3 else values).numpy()
    return array


def _in_unit_range(array: Array, name: str, signed: bool) -> Array:
    """Floats in [0, 1] of such, or where ``signed`` of some in [-1, 1]."""
    if not np.isfinite(array).all():
        raise PictureError(f"{name} holds numbers that are not finite: no picture can be made of it.")
    low, high = float(array.min()), float(array.max())
    signed = signed and low < -TOLERANCE
    least = -1 if signed else 0
    if low < least - TOLERANCE or high > 1 + TOLERANCE:
        raise PictureError(
            f"The numbers of {name} reach from {low:.3g} to {high:.3g}, but floats must lie in [0, 1]: scale them "
            "first, or give bytes."
        )
    return (array + 1) / 2 if signed else array
