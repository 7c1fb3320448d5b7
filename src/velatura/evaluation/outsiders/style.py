"""The style picture as it is: the upper end of every measure of style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from velatura.evaluation.outsiders.base import Outsider
from velatura.picture import image_to_pixels, pixels_to_image
from velatura.picture.tensors import covering


@dataclass(frozen=True)
class StylePicture(Outsider):
    """The style picture, scaled to cover the content and cropped to it."""

    name: ClassVar[str] = "style"

    def stylize(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The style at the content's size."""
        height, width = content.shape[2:]
        return image_to_pixels(covering(pixels_to_image(style), (width, height)))
