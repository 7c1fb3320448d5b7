"""Reading and writing pictures, their working sizes, tensors and colours."""

from velatura.picture.metadata import read_manifest
from velatura.picture.reading import Picture, open_picture
from velatura.picture.sizing import Sizing, plan_size
from velatura.picture.tensors import image_to_pixels, pixels_to_image
from velatura.picture.writing import save_picture

__all__ = [
    "Picture",
    "Sizing",
    "image_to_pixels",
    "open_picture",
    "pixels_to_image",
    "plan_size",
    "read_manifest",
    "save_picture",
]
