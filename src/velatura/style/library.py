"""The user's style library: a folder of style files."""

from __future__ import annotations

import re
from pathlib import Path

from velatura.errors import StyleError
from velatura.style.style import Style

NAME = re.compile(r"[\w][\w .-]{0,79}")
SUFFIX = ".safetensors"


class StyleLibrary:
    """Styles kept in ``folder``; names are letters, digits, spaces, dots, dashes and underscores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the style ``name`` is or would be. Raises StyleError for a name that could leave the folder."""
        if not NAME.fullmatch(name) or ".." in name or name.endswith((".", " ")):
            raise StyleError(f"'{name}' cannot be a style's name: use letters, digits, spaces, dots, - and _.")
        return self.folder / f"{name}{SUFFIX}"

    def names(self) -> list[str]:
        """The names of all styles, sorted."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"[!.]*{SUFFIX}"))

    def has(self, name: str) -> bool:
        """Whether there is a style of that name."""
        return bool(NAME.fullmatch(name)) and ".." not in name and (self.folder / f"{name}{SUFFIX}").is_file()

    def load(self, name: str) -> Style:
        """The style ``name``. Raises StyleError, naming the styles there are, when there is none."""
        if not self.has(name):
            known = ", ".join(self.names()) or "none yet"
            raise StyleError(f"There is no style '{name}' (styles: {known}): fit one with 'velatura fit'.")
        return Style.load(self.path(name))

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
        """Delete a style. Raises StyleError when there is none."""
        self.load(name)
        self.path(name).unlink()
