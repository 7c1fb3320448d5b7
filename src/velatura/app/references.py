"""What compared results were made of: the photo and the style picture of each pair."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from velatura.app.files import find_contents
from velatura.errors import PictureError
from velatura.picture import read_manifest

BENCHMARK = "benchmark"  # a benchmark's entry in manifests, with the hashes of the files that were named
JOINT = "_"  # between content and style in the names of a benchmark's pictures


@dataclass(frozen=True)
class References:
    """Pictures that results were made of; ``entry``, "content" or "style", names them in a manifest."""

    entry: str
    paths: Sequence[Path]

    @staticmethod
    def of(place: Path | None, entry: str) -> References:
        """A folder's pictures, or one picture's; none without a ``place``."""
        return References(
            entry, () if place is None else [each.path for each in find_contents([place], recursive=True)]
        )

    def find(self, name: str, *results: Path) -> Path | None:
        """The picture of a pair: the only one, one that a result's manifest names by hash, or one of its name.

        Names are the pair's, or as a benchmark's: CONTENT_STYLE.
        """
        if len(self.paths) < 2:
            return next(iter(self.paths), None)
        named = (digest for result in results for digest in self._named(result))
        by_hash = (self._by_digest[digest] for digest in named if digest in self._by_digest)
        stem = Path(name).name
        exact = (path for path in self.paths if path.stem == stem)
        parts = [path for path in self.paths if self._is_part(path.stem, stem)]
        return next(by_hash, next(exact, max(parts, key=lambda path: len(path.stem), default=None)))

    @cached_property
    def _by_digest(self) -> Mapping[str, Path]:
        return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in reversed(self.paths)}

    def _is_part(self, stem: str, name: str) -> bool:
        """Whether CONTENT_STYLE begins with a content's name, or ends with a style's."""
        return name.startswith(stem + JOINT) if self.entry == "content" else name.endswith(JOINT + stem)

    def _named(self, result: Path) -> Iterator[str]:
        """The SHA-256 of files that a result's manifest has."""
        try:
            manifest = read_manifest(result)
        except PictureError:
            return
        benchmark, own = _entry(manifest, BENCHMARK), _entry(manifest, self.entry)
        yield from (str(found) for found in (benchmark.get(f"{self.entry}_sha256"), own.get("sha256")) if found)


def _entry(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a manifest; empty where there is none."""
    found = manifest.get(name) if isinstance(manifest, Mapping) else None
    return found if isinstance(found, Mapping) else {}
