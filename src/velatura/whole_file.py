"""Files that are written whole or not at all."""

from __future__ import annotations

import logging
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

UNFINISHED = ".part"
ABANDONED_AFTER = 24 * 3600  # seconds without a change after which nobody writes an unfinished file any more

log = logging.getLogger("velatura")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A new, unique path beside ``path`` that replaces it when the block succeeds and is deleted when it raises.

    What killed programs left beside ``path`` a day ago is deleted too. Raises OSError where nothing can be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _delete_abandoned(path.parent)
    unfinished = path.parent / f".{uuid.uuid4().hex}{UNFINISHED}"
    try:
        unfinished.touch(exist_ok=False)
        usual = stat.S_IMODE(unfinished.stat().st_mode)
        yield unfinished
        unfinished.chmod(usual)  # some libraries put a file that only its owner may read in its place
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _delete_abandoned(folder: Path) -> None:
    for path in folder.glob(f".{'[0-9a-f]' * 32}{UNFINISHED}"):  # never a file of another program's
        try:
            if path.stat().st_mtime < time.time() - ABANDONED_AFTER:
                path.unlink()
        except OSError:  # another program was quicker, or may delete here and this one may not
            continue


@lru_cache(maxsize=256)
def warn_not_kept(what: str, folder: Path, reason: str) -> None:
    """Log, once for each folder and reason, that ``what`` could not be written and the work goes on without it."""
    log.warning("The %s in %s cannot be written (%s): the work goes on without it.", what, folder, reason)
