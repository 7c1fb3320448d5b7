"""The manifest in a picture file's metadata: JSON with all that is needed to make the picture again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from velatura.errors import PictureError

KEY = "velatura"


def embedding_options(format_name: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for ``Image.save`` that put ``manifest`` into a PNG, JPEG, WebP, TIFF or AVIF file."""
    text = json.dumps({KEY: manifest}, ensure_ascii=True, sort_keys=True)
    if format_name == "PNG":
        chunk = PngImagePlugin.PngInfo()
        chunk.add_text(KEY, text)
        return {"pnginfo": chunk}
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
