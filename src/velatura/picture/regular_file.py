"""Reading a file's bytes without waiting for a pipe, following a device without end, or filling the memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from velatura.errors import PictureError

NOT_REGULAR = {
    stat.S_IFDIR: "a folder where a picture was expected: name a file in it",
    stat.S_IFIFO: "a pipe, not a file: save the picture first",
    stat.S_IFSOCK: "a socket, not a file: save the picture first",
}
DEVICE = "a device, not a file: name a picture file"


def read_regular(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file of at most ``max_bytes``.

    What the file is and how long it may get is asked of the open file itself, so that nothing can be put in its place.
    Raises PictureError for what is missing, no regular file, unreadable, empty or too large.
    """
    try:
        # Not to block: opening a pipe would wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
            if kind != stat.S_IFREG:
                raise PictureError(f"{path} is {NOT_REGULAR.get(kind, DEVICE)}.")
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise PictureError(f"There is no file {path}: check the name.") from None
    except IsADirectoryError:
        raise PictureError(f"{path} is {NOT_REGULAR[stat.S_IFDIR]}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"{path} cannot be read ({reason}): check its name and permissions.") from None
    if len(data) > max_bytes:
        raise PictureError(f"{path} is larger than {max_bytes // 2**20} MiB: scale it down first.")
    if not data:
        raise PictureError(f"{path} is empty (0 bytes): save or download it again.")
    return data
