"""A large file in parts that a machine with a limit on file sizes takes and gives back."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from velatura.whole_file import whole_file

PART_BYTES = 15 * 2**20


class PartsError(ValueError):
    """An index or its parts are not those that were written."""


def write_parts(index: Path, content: bytes, part_bytes: int = PART_BYTES) -> None:
    """Write ``content`` in files of at most ``part_bytes`` beside ``index``, then the index; then delete former parts.

    The parts' names hold the content's checksum, so that the former index and its parts stay whole until the new index
    takes its place. Raises OSError, with nothing new left behind, where something cannot be written.
    """
    digest = hashlib.sha256(content).hexdigest()
    pieces = [content[start : start + part_bytes] for start in range(0, len(content), part_bytes)]
    paths = _parts(index, digest, len(pieces))
    former = set(_all_parts(index))
    try:
        for path, piece in zip(paths, pieces, strict=True):
            with whole_file(path) as unfinished:
                unfinished.write_bytes(piece)
        with whole_file(index) as unfinished:
            unfinished.write_text(json.dumps({"sha256": digest, "parts": len(pieces)}) + "\n")
    except OSError:
        for path in set(paths) - former:
            path.unlink(missing_ok=True)
        raise
    for path in former - set(paths):
        path.unlink(missing_ok=True)


def read_parts(index: Path) -> bytes:
    """The content that ``write_parts`` wrote.

    Raises PartsError for a damaged index or part, OSError for a missing one.
    """
    try:
        entries = json.loads(index.read_text())
        digest, count = entries["sha256"], entries["parts"]
        if not re.fullmatch("[0-9a-f]{64}", digest) or not 0 <= count < 10_000:
            raise PartsError("its index holds no checksum and number of parts")
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise PartsError(f"its index cannot be read: {error}") from None
    content = b"".join(path.read_bytes() for path in _parts(index, digest, count))
    if hashlib.sha256(content).hexdigest() != digest:
        raise PartsError("its bytes are not those that were written")
    return content


def _parts(index: Path, digest: str, count: int) -> list[Path]:
    return [index.with_name(f"{index.stem}-{digest[:12]}-{number:04}.part") for number in range(count)]


def _all_parts(index: Path) -> list[Path]:
    named = re.compile(rf"{re.escape(index.stem)}-[0-9a-f]{{12}}-\d{{4}}\.part")
    return [path for path in index.parent.glob(f"{index.stem}-*.part") if named.fullmatch(path.name)]
