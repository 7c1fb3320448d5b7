"""Photos that scikit-image brings, public domain or CC0: an astronaut, a cat, a cup of coffee, a rocket."""

from __future__ import annotations

from PIL import Image

from velatura.picture.reading import Picture

SAMPLE_PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


def sample_photos() -> list[Picture]:
    """The photos, at their own sizes of 300 to 640 pixels."""
    from skimage import data

    return [Picture.of(Image.fromarray(getattr(data, name)()), name) for name in SAMPLE_PHOTOS]
