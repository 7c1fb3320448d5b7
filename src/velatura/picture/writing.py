"""Writing picture files, each whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from velatura.errors import PictureError
from velatura.picture.metadata import embedding_options

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
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise PictureError(f"{path} cannot be written ({error.strerror}): choose another place.") from None
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(path)
    except OSError as error:
        raise PictureError(f"{path} cannot be written ({error.strerror or error}): choose another place.") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def picture_format(path: Path) -> str:
    """Pillow's name of the format of ``path``'s suffix. Raises PictureError for an unknown suffix."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise PictureError(f"{path} has no known picture ending: use one of {', '.join(FORMATS)}.") from None


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
        beside = path.with_name(path.name + ".json")
        with replacing(beside) as unfinished:
            unfinished.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return path
