"""Copies of the library's styles that jobs use: a job keeps its style, whatever becomes of the style's name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from velatura.service.jobs import MissingError
from velatura.style import Style, StyleLibrary
from velatura.whole_file import whole_file

SUFFIX = ".safetensors"


class KeptStyles:
    """Style files in a folder, each once under the SHA-256 of its bytes."""

    def __init__(self, folder: Path, library: StyleLibrary) -> None:
        self._folder, self._library = folder, library

    def keep(self, name: str) -> str:
        """Copy a style of the library, unless there is that copy; its SHA-256. Raises MissingError."""
        try:
            data = self._library.path(name).read_bytes()
        except OSError:
            raise no_style(name) from None
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if not path.exists():
            with whole_file(path) as unfinished:
                unfinished.write_bytes(data)
        return digest

    def has(self, digest: str) -> bool:
        """Whether there is a copy."""
        return bool(digest) and self._path(digest).is_file()

    def load(self, digest: str, name: str) -> Style:
        """A copy, under the name that it had. Raises MissingError, and StyleError for a damaged one."""
        if not self.has(digest):
            raise MissingError(f"The copy of the style '{name}' is gone from the server: choose another style.")
        return replace(Style.load(self._path(digest)), name=name)

    def prune(self, is_used: Callable[[str], bool]) -> None:
        """Delete the copies that nothing uses."""
        for path in self._folder.glob(f"??/*{SUFFIX}"):
            if not is_used(path.stem):
                path.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}{SUFFIX}"


def no_style(name: str) -> MissingError:
    """What to say where the library has no style of a name."""
    return MissingError(
        f"There is no style '{name}' in the library: it may have been renamed or removed, so choose another."
    )
