"""The user's style library: a folder of style files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from velatura.errors import StyleError
from velatura.style.style import Style

NAME = re.compile(r"[\w][\w .-]{0,79}")
NAME_BYTES = 200  # a file's name has at most 255 bytes
SUFFIX = ".safetensors"


class StyleLibrary:
    """Styles kept in ``folder``; names are letters, digits, spaces, dots, dashes and underscores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the style ``name`` is or would be. Raises StyleError for a name that could leave the folder."""
        if not _is_name(name):
            raise StyleError(f"{name!r} cannot be a style's name: use letters, digits, spaces, dots, - and _.")
        return self.folder / f"{name}{SUFFIX}"

    def names(self) -> list[str]:
        """The names of all styles, damaged ones too, sorted."""
        names = (path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"*{SUFFIX}"))
        return sorted(name for name in names if self.has(name))

    def has(self, name: str) -> bool:
        """Whether there is a style of that name, damaged or not."""
        return _is_name(name) and self.path(name).is_file()

    def load(self, name: str) -> Style:
        """The style ``name``. Raises StyleError for a damaged one and, naming the styles there are, for none."""
        return replace(Style.load(self._existing(name)), name=name)

    def _existing(self, name: str) -> Path:
        if not self.has(name):
            known = ", ".join(self.names()) or "none yet"
            raise StyleError(f"There is no style '{name}' (styles: {known}): fit one with 'velatura fit'.")
        return self.path(name)

    def add(self, style: Style, replace: bool = False) -> Path:
        """Keep a style. Raises StyleError when the name is taken and ``replace`` is off."""
        path = self.path(style.name)
        if path.exists() and not replace:
            raise StyleError(
                f"There is a style '{style.name}' already: choose another name, or replace it with --force."
            )
        style.save(path)
        return path

    def remove(self, name: str) -> None:
        """Delete a style, damaged or not. Raises StyleError when there is none, or it cannot be deleted."""
        path = self._existing(name)
        try:
            path.unlink()
        except OSError as error:
            raise StyleError(f"{path} cannot be deleted ({error.strerror}): delete it by hand.") from None


def _is_name(name: str) -> bool:
    """Whether ``name`` is a file's name in one folder, on every system."""
    allowed = NAME.fullmatch(name) and ".." not in name and not name.endswith((".", " "))
    return bool(allowed) and len(name.encode()) <= NAME_BYTES
