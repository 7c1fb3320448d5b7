"""What a mask picture says: gray levels or transparency, white or opaque where it selects."""

from __future__ import annotations

import numpy as np
from PIL import Image

from velatura.errors import PictureError
from velatura.picture.reading import Picture

MAX_CHROMA = 8.0  # mean of max - min of R, G, B (0..255); a gray mask as JPEG has less than 3, photos over 20


def mask_levels(mask: Picture) -> Image.Image:
    """A mask's 8-bit levels: its alpha where anything in it is transparent, else its gray.

    So strokes of any colour on a transparent ground count by where they are. Raises PictureError for an opaque picture
    in colour, which is a photo and no mask.
    """
    if mask.alpha is not None:
        return mask.alpha
    small = mask.image.copy()
    small.thumbnail((256, 256))
    channels = np.asarray(small, dtype=np.int16)
    if (channels.max(2) - channels.min(2)).mean() > MAX_CHROMA:
        raise PictureError(
            f"The picture {mask.name} is a photo in colour, not a mask: give a gray picture, white where the style "
            "goes and black elsewhere, or strokes on a transparent ground."
        )
    return mask.image.convert("L")
