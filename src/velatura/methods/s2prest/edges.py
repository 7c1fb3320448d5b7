"""The content's edge picture K, and how much it counts at each step."""

from __future__ import annotations

from PIL import Image

from velatura.models.features.canny import canny_edges
from velatura.models.features.hed import hed_edges
from velatura.picture import Picture, image_to_pixels, open_picture, pixels_to_image

NO_EDGES = "none"
EDGE_SOURCES = ("canny", "hed", NO_EDGES)
EDGE_SCHEDULES = ("constant", "falling", "rising")


def edge_picture(content: Picture, source: str, threshold: float) -> Image.Image:
    """K: the edges of a content, dark on white, at its own size.

    ``source`` is "canny", "hed" or the path of a picture to take as it is. With a ``threshold`` over 0, Canny's edges
    are those above it, and those connected to them above half of it, in full black.
    """
    if source not in EDGE_SOURCES:
        return open_picture(source).image
    pixels = image_to_pixels(content.image)
    if source == "hed":
        return pixels_to_image(hed_edges(pixels))
    return pixels_to_image(canny_edges(pixels, threshold / 2, threshold))


def edge_weight(schedule: str, progress: float) -> float:
    """The edge condition's share of its setting in the step that begins at ``progress`` (0 to below 1)."""
    return {"constant": 1.0, "falling": 1 - progress, "rising": progress}[schedule]
