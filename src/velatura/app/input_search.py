"""Finding files by their SHA-256: under the name that they had, then in folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from velatura.app.files import SUFFIXES
from velatura.errors import PictureError
from velatura.picture.reading import MAX_BYTES
from velatura.picture.regular_file import read_regular


@dataclass(eq=False)
class InputSearch:
    """Looks in ``near`` (folders, not what lies in them further down), then in ``folders`` and all below them."""

    near: Sequence[Path]
    folders: Sequence[Path] = ()
    _digests: dict[Path, str] = field(default_factory=dict)

    def find(self, sha256: str, named: str = "") -> Path | None:
        """The file of that hash: the path ``named``, a file of its name, or any picture; None where there is none."""
        if not sha256:
            return None
        return next((path for path in self.candidates(named) if self.digest(path) == sha256), None)

    def candidates(self, named: str = "") -> Iterator[Path]:
        """The path ``named``, files of its name in the folders, then every picture in them."""
        if named:
            yield Path(named)
            yield from (path for path in self._pictures() if path.name == Path(named).name)
        yield from self._pictures()

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file; empty for one that cannot be read."""
        if path not in self._digests:
            try:
                self._digests[path] = hashlib.sha256(read_regular(path, MAX_BYTES)).hexdigest()
            except (PictureError, OSError):
                self._digests[path] = ""
        return self._digests[path]

    def _pictures(self) -> Iterator[Path]:
        for folder in self.near:
            yield from sorted(path for path in folder.iterdir() if _is_picture(path)) if folder.is_dir() else ()
        for folder in self.folders:
            for name, inside, files in os.walk(folder):
                inside.sort()
                yield from (path for path in (Path(name) / file for file in sorted(files)) if _is_picture(path))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
