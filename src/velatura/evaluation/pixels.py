"""What a metric may be given as a picture."""

from __future__ import annotations

from typing import TypeAlias

from PIL import Image
from torch import Tensor

from velatura.picture import Picture, image_to_pixels

PictureLike: TypeAlias = Tensor | Image.Image | Picture


def pixels_of(picture: PictureLike) -> Tensor:
    """A picture as (1, 3, H, W) in [-1, 1]; a tensor, of one or several, is returned as it is.

    >>> pixels_of(Image.new("RGB", (4, 2), "white")).shape
    torch.Size([1, 3, 2, 4])
    """
    if isinstance(picture, Tensor):
        return picture
    return image_to_pixels(picture.image if isinstance(picture, Picture) else picture)
