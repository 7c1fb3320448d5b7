"""A style picture in which only what is inside a mask counts, for methods that read whole pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from velatura.errors import StyleError
from velatura.picture import Picture
from velatura.picture.mask import mask_levels

ROUNDS = 12  # each reaches as far again as the last


def only_inside(picture: Picture, mask: Picture | None) -> Image.Image:
    """The picture with what is white in ``mask`` (half of white or more) mirrored outwards over the rest.

    So every statistic, texture or embedding of it is one of the inside, at the picture's own scale. Without a mask it
    stays as it is. Raises StyleError for a mask that is black everywhere.
    """
    if mask is None:
        return picture.image
    inside = np.asarray(mask_levels(mask).resize(picture.size)) >= 128
    if not inside.any():
        raise StyleError("The style mask is black everywhere: paint white what belongs to the style.")
    return Image.fromarray(mirrored_outwards(np.asarray(picture.image.convert("RGB")), inside))


def mirrored_outwards(pixels: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) whose outside shows the inside (H, W), not empty, mirrored at its nearest edge, again and again.

    What no mirror reaches has the colour of the nearest pixel.
    """
    made, known = pixels.copy(), inside.copy()
    height, width = inside.shape
    for _ in range(ROUNDS):
        if known.all():
            break
        rows, columns = np.nonzero(~known)
        near_rows, near_columns = _nearest(known)
        from_rows = (2 * near_rows - rows).clip(0, height - 1)
        from_columns = (2 * near_columns - columns).clip(0, width - 1)
        reached = known[from_rows, from_columns]
        made[rows[reached], columns[reached]] = made[from_rows[reached], from_columns[reached]]
        known[rows[reached], columns[reached]] = True
    if not known.all():
        made[~known] = made[_nearest(known)]
    return made


def _nearest(known: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows and columns of the known pixels that are nearest to each unknown one, in order."""
    import cv2

    unknown = (~known).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(unknown, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    rows, columns = np.nonzero(known)
    row_of, column_of = (np.zeros(int(labels.max()) + 1, np.int64) for _ in range(2))
    row_of[labels[known]], column_of[labels[known]] = rows, columns
    return row_of[labels[~known]], column_of[labels[~known]]
