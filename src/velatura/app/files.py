"""Which files a command works on, and where its results go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from velatura.errors import PictureError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif"}


def content_files(paths: Sequence[Path]) -> list[Path]:
    """Files as they are; of a folder its pictures, sorted. Raises PictureError for a folder without any."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not inside:
                raise PictureError(f"The folder {path} holds no pictures: name one that does.")
            files += inside
        else:
            files.append(path)
    return files


def result_paths(files: Sequence[Path], out: Path) -> list[Path]:
    """``out`` itself for one file; ``out/<name>.png`` for several, or where ``out`` is a folder.

    Raises PictureError where a single file is named for several results, or a result would take the place
    of a content.
    """
    into_folder = out.is_dir() or not out.suffix
    if len(files) > 1 and not into_folder:
        raise PictureError(f"{len(files)} pictures cannot all become {out}: name a folder with --out.")
    if not into_folder:
        paths = [out]
    else:
        stems = [file.stem for file in files]
        paths = [
            out / (f"{file.stem}.png" if stems.count(file.stem) == 1 else f"{file.stem}-{index}.png")
            for index, file in enumerate(files)
        ]
    contents = {file.resolve() for file in files}
    for path in paths:
        if path.resolve() in contents:
            raise PictureError(f"{path} is the content itself and would be lost: choose another --out.")
    return paths
