"""The folder of styles, caches and checkpoints."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """``VELATURA_HOME`` or the platform's folder for user data; not created here."""
    chosen = os.environ.get("VELATURA_HOME")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_data_path

    return user_data_path("velatura", appauthor=False)


def styles_folder() -> Path:
    """The folder of the style library, where no other is named."""
    return home() / "styles"
