"""The bound on what a PyTorch file may unfold to."""

from __future__ import annotations

import zipfile
from pathlib import Path

from velatura.errors import ModelError

# torch.save stores tensors uncompressed, so that an archive holds about its own size.
MOST_GROWTH, ALWAYS_ALLOWED = 4, 64 * 2**20


def check_archive(path: Path) -> None:
    """Raise ModelError for a file that is no regular one, or whose members would unfold to many times its size."""
    if not path.is_file():
        raise ModelError(f"There is no file {path}: check the name.")
    try:
        with zipfile.ZipFile(path) as archive:
            unfolded = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile:
        return  # the format before archives, or no model at all: torch.load tells
    except (OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path} cannot be read ({error}): check it and its permissions.") from None
    size = path.stat().st_size
    if unfolded > max(MOST_GROWTH * size, ALWAYS_ALLOWED):
        raise ModelError(
            f"{path} has {size / 2**20:.1f} MB and would unfold to {unfolded / 2**20:,.0f} MB, which no weights do: "
            "get it from another place."
        )
