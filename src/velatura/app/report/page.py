"""Rendering of the HTML pages from their templates, and pictures inside a page."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from velatura.picture.writing import replacing

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST_SIDE = 1600  # pixels of a picture in a page
QUALITY = 92


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("velatura.app.report")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write a page, whole or not at all; texts in it are escaped. Raises PictureError where it cannot be written."""
    page = _environment().get_template(template).render(values)
    with replacing(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def data_uri(image: Image.Image, longest: int = LONGEST_SIDE) -> str:
    """A picture as a URI that holds it: a WebP without metadata, its sides at most ``longest`` pixels."""
    shown = image.convert("RGBA" if image.mode in ("RGBA", "LA", "P") else "RGB")
    shown.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
