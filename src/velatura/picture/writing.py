"""Writing picture files, each whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image

from velatura.errors import PictureError
from velatura.picture.metadata import embedding_options
from velatura.whole_file import whole_file

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
}
QUALITY: Mapping[str, Mapping[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "AVIF": {"quality": 90},
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that replaces ``path`` when the block succeeds and is removed when it raises.

    Raises PictureError where ``path`` cannot be written.
    """
    try:
        with whole_file(path) as unfinished:
            yield unfinished
    except OSError as error:
        raise PictureError(f"{path} cannot be written ({error.strerror or error}): choose another place.") from None


def numbered(path: Path, number: int) -> Path:
    """The path with a number before its ending: photo.png and 1 give photo-1.png."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def free_path(path: Path) -> Path:
    """``path``, or with the next free number where it, or the manifest beside it, exists."""
    candidates = (path if number == 0 else numbered(path, number) for number in count())
    return next(each for each in candidates if not any(os.path.lexists(file) for file in (each, f"{each}.json")))


def picture_format(path: Path) -> str:
    """Pillow's name of the format of ``path``'s suffix. Raises PictureError for an unknown suffix."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise PictureError(f"{path} has no known picture ending: use one of {', '.join(FORMATS)}.") from None


def sidecar_path(path: Path) -> Path:
    """Where the manifest of a picture is written as JSON, beside it."""
    return path.with_name(path.name + ".json")


def save_picture(
    image: Image.Image,
    path: str | Path,
    manifest: Mapping[str, Any],
    alpha: Image.Image | None = None,
    sidecar: bool = False,
) -> Path:
    """Write an RGB ``image`` with its ``manifest`` inside; the format follows the file's ending.

    ``alpha`` is put back where the format has transparency (JPEG has none: it is left out).
    ``sidecar`` also writes the manifest to ``<path>.json``. Both files are written whole or not at all.
    """
    path = Path(path)
    format_name = picture_format(path)
    if alpha is not None and format_name != "JPEG":
        image = image.copy()
        image.putalpha(alpha)
    options = {**QUALITY.get(format_name, {}), **embedding_options(format_name, manifest)}
    with replacing(path) as unfinished:
        image.save(unfinished, format_name, **options)
    if sidecar:
        with replacing(sidecar_path(path)) as unfinished:
            unfinished.write_text(json.dumps(manifest, indent=2) + "\n")
    return path
