"""The manifest in a picture file's metadata: JSON with all that is needed to make the picture again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from velatura.errors import PictureError

KEY = "velatura"
MOST_JPEG_BYTES = 65_000  # of EXIF data, 65533 with its header
DISPENSABLE = ("loss_curves", "crops")  # what no picture needs to be made again


def embedding_options(format_name: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for ``Image.save`` that put ``manifest`` into a PNG, JPEG, WebP, TIFF or AVIF file."""
    text = json.dumps({KEY: manifest}, ensure_ascii=True)  # in its order: that of the losses decides about last bits
    if format_name == "PNG":
        chunk = PngImagePlugin.PngInfo()
        chunk.add_text(KEY, text)
        return {"pnginfo": chunk}
    if format_name == "JPEG" and len(text) > MOST_JPEG_BYTES:
        short = {name: entry for name, entry in manifest.items() if name not in DISPENSABLE}
        text = json.dumps({KEY: short}, ensure_ascii=True)
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = text
    return {"exif": exif}


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest in a picture file that this program wrote. Raises PictureError where there is none."""
    try:
        with Image.open(path) as image:
            text = image.info.get(KEY) or image.getexif().get(ExifTags.Base.ImageDescription, "")
        manifest: dict[str, Any] = json.loads(text)[KEY]
    except (OSError, ValueError, KeyError, TypeError):
        raise PictureError(f"{path} holds no manifest of this program: only pictures it wrote do.") from None
    return manifest
