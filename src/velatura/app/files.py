"""A command's input files, and the paths of its results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from velatura.errors import PictureError

UNSAFE = re.compile(r"[^\w .+-]")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif"}


def content_files(paths: Sequence[Path]) -> list[Path]:
    """The given files; of a folder its pictures, sorted. Raises PictureError for a folder without any."""
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


@dataclass(frozen=True)
class Destination:
    """The path of one result, and of its edge picture where the layout has one."""

    picture: Path
    edges: Path | None = None


def destinations(
    files: Sequence[Path], out: Path | None, layout: str, style: str, strengths: Sequence[float]
) -> list[list[Destination]]:
    """For each strength a list of destinations, one for each file.

    Layout "paper" is S2PreST's ``out/STYLE/wt_STRENGTH/{stylized,canny}/CONTENT.png`` (``out``: results). In
    "flat" ``out`` is a picture's path for one result, else a folder; several strengths add theirs to the name.
    Raises PictureError where several results would have one path, or a result would replace a content.
    """
    if layout == "paper":
        root = (out or Path("results")) / UNSAFE.sub("_", style).strip(". ")
        found = [
            [
                Destination(root / f"wt_{strength:g}" / "stylized" / name, root / f"wt_{strength:g}" / "canny" / name)
                for name in _names(files)
            ]
            for strength in strengths
        ]
    else:
        paths = _flat(files, out or Path("stylized.png"))
        several = len(strengths) > 1
        found = [
            [Destination(p.with_name(f"{p.stem}-wt_{strength:g}{p.suffix}") if several else p) for p in paths]
            for strength in strengths
        ]
    refuse_contents([destination.picture for of_strength in found for destination in of_strength], files)
    return found


def refuse_contents(targets: Sequence[Path], files: Sequence[Path]) -> None:
    """Raise PictureError where a target is one of the content files."""
    contents = {file.resolve() for file in files}
    for target in targets:
        if target.resolve() in contents:
            raise PictureError(f"{target} is the content itself and would be lost: choose another --out.")


def _names(files: Sequence[Path]) -> list[str]:
    stems = [file.stem for file in files]
    return [
        f"{file.stem}.png" if stems.count(file.stem) == 1 else f"{file.stem}-{index}.png"
        for index, file in enumerate(files)
    ]


def _flat(files: Sequence[Path], out: Path) -> list[Path]:
    into_folder = out.is_dir() or not out.suffix
    if len(files) > 1 and not into_folder:
        raise PictureError(f"{len(files)} pictures cannot all become {out}: name a folder with --out.")
    return [out / name for name in _names(files)] if into_folder else [out]
