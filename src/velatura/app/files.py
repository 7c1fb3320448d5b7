"""A command's content files, and the names that their results ask for."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from velatura.app.targets import Target
from velatura.errors import PictureError
from velatura.methods.validation import UNSET

UNSAFE = re.compile(r"[^\w .+-]")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
LONGEST_LABEL = 80  # bytes of a style's name in a file's


@dataclass(frozen=True)
class ContentFile:
    """A content's file, and its folder within the one that was searched."""

    path: Path
    subfolder: Path = Path()


def find_contents(paths: Sequence[Path], recursive: bool = False, results: Path | None = None) -> list[ContentFile]:
    """The given files; of a folder its pictures, sorted, with ``recursive`` also those of its subfolders.

    A file is taken once; the folder ``results`` is not searched where it lies in another. Raises PictureError for a
    folder without any picture, and for one that cannot be read.
    """
    advice = "name one that does" if recursive else "name one that does, or add --recursive"
    return _found(paths, recursive, results, advice)


def _found(paths: Sequence[Path], recursive: bool, results: Path | None, advice: str) -> list[ContentFile]:
    found: dict[str, ContentFile] = {}
    for path in paths:
        inside = _pictures_in(path, recursive, results) if path.is_dir() else [ContentFile(path)]
        if not inside:
            raise PictureError(f"The folder {path} holds no pictures: {advice}.")
        for content in inside:
            found.setdefault(os.path.realpath(content.path), content)
    return list(found.values())


def content_files(paths: Sequence[Path]) -> list[Path]:
    """The given files; of a folder its pictures, sorted, for commands that look into no subfolders.

    Raises what ``find_contents`` does.
    """
    return [content.path for content in _found(paths, False, None, "name one that does; subfolders are not searched")]


def _pictures_in(folder: Path, recursive: bool, results: Path | None) -> list[ContentFile]:
    def refuse(error: OSError) -> None:
        raise PictureError(f"The folder {error.filename} cannot be read ({error.strerror}): name another.")

    apart = results and results.resolve()
    found: list[ContentFile] = []
    for name, folders, files in os.walk(folder, onerror=refuse):
        here = Path(name)
        pictures = [here / file for file in sorted(files) if _is_picture(file)]
        found += [ContentFile(picture, here.relative_to(folder)) for picture in pictures]
        inside = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != apart)
        folders[:] = inside if recursive else []
    return found


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


@dataclass(frozen=True)
class Naming:
    """How results are named.

    Layout "paper" is S2PreST's ``out/STYLE/wt_STRENGTH/{stylized,EDGES}/CONTENT.png`` (``out``: results). In "flat"
    ``out`` is a picture's path for one content, else a folder; several styles and several strengths add theirs to the
    name. ``edges`` names the folder of edge pictures, empty for a method without.
    """

    out: Path | None = None
    layout: str = "flat"
    edges: str = ""
    with_sidecar: bool = False

    def wishes(
        self, contents: Sequence[ContentFile], styles: Sequence[str], strengths: Sequence[float]
    ) -> Mapping[tuple[int, int, int], Target]:
        """The targets that results ask for, by the indices of content, style and strength; some may be equal.

        Raises PictureError for several contents and one picture's path.
        """
        labels, shares = style_labels(styles), strength_labels(strengths)
        name = self._paper if self.layout == "paper" else self._flat
        plain = self._plain(contents)
        return {
            (i, j, k): name(path, (label, len(labels) > 1), (share, len(shares) > 1))
            for i, path in enumerate(plain)
            for j, label in enumerate(labels)
            for k, share in enumerate(shares)
        }

    def _plain(self, contents: Sequence[ContentFile]) -> list[Path]:
        """The results' paths but for styles and strengths: within a style's folder in the paper's layout."""
        names = [content.subfolder / f"{content.path.stem}.png" for content in contents]
        if self.layout == "paper":
            return names
        out = self.out or Path("stylized.png")
        if out.is_dir() or not out.suffix:
            return [out / name for name in names]
        if len(contents) > 1:
            raise PictureError(f"{len(contents)} pictures cannot all become {out}: name a folder with --out.")
        return [out]

    def _flat(self, path: Path, style: tuple[str, bool], strength: tuple[str, bool]) -> Target:
        added = f"-{style[0]}" * style[1] + f"-wt_{strength[0]}" * strength[1]
        return Target(path.with_name(f"{path.stem}{added}{path.suffix}"), with_sidecar=self.with_sidecar)

    def _paper(self, path: Path, style: tuple[str, bool], strength: tuple[str, bool]) -> Target:
        root = (self.out or Path("results")) / style[0] / f"wt_{strength[0]}"
        edges = root / self.edges / path if self.edges else None
        return Target(root / "stylized" / path, edges, self.with_sidecar)


def style_labels(styles: Sequence[str]) -> list[str]:
    """Different names for files and folders, from the names of styles, pictures' paths and words."""
    labels: list[str] = []
    taken: set[str] = set()
    for style in styles:
        safe = UNSAFE.sub("_", style).encode()[:LONGEST_LABEL].decode(errors="ignore").strip(". ") or "style"
        numbers = (f"{safe}-{number}" if number else safe for number in range(len(styles)))
        label = next(name for name in numbers if name.casefold() not in taken)
        taken.add(label.casefold())
        labels.append(label)
    return labels


def strength_labels(strengths: Sequence[float]) -> list[str]:
    """Different texts for different strengths, short where that suffices; "default" for one that is not set."""
    short = Counter(f"{strength:g}" for strength in strengths)
    return ["default" if s == UNSET else f"{s:g}" if short[f"{s:g}"] == 1 else repr(float(s)) for s in strengths]
