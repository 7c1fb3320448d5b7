"""What a result's manifest says of how it was made, read from the picture or from the JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from velatura.errors import PictureError
from velatura.picture import read_manifest
from velatura.picture.writing import sidecar_path

NEEDED: Mapping[str, type] = {
    "method": str,
    "model": str,
    "settings": dict,
    "seed": int,
    "content": dict,
    "regions": list,
}
WHOLE_SPAN = (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class RecordedRegion:
    """A region of a result: what its style was fitted to (``source``), where it went, how much of it, and when."""

    source: Mapping[str, Any]
    where: str
    where_sha256: str
    mask_sha256: str
    weight: float
    span: tuple[float, float]

    @staticmethod
    def of(entry: Mapping[str, Any]) -> RecordedRegion:
        """A region of a manifest; one of an earlier version names only the style's picture."""
        earlier = {"name": entry.get("style"), "identity": entry.get("style_identity", "")}
        source = entry.get("source") or {**earlier, "sha256": entry.get("style_sha256", "")}
        start, end = entry.get("span") or WHOLE_SPAN
        return RecordedRegion(
            {**source, "name": str(source.get("name") or "style")},
            str(entry.get("where", EVERYWHERE)),
            str(entry.get("where_sha256", "")),
            str(entry.get("mask_sha256", "")),
            float(entry.get("weight", 1.0)),
            (float(start), float(end)),
        )

    @property
    def is_whole(self) -> bool:
        """Whether the region is the whole picture at full weight, for the whole run."""
        return self.where == EVERYWHERE and self.weight == 1 and self.span == WHOLE_SPAN

    @property
    def parts(self) -> list[tuple[Mapping[str, Any], float]]:
        """The styles that it is a mix of, with their shares; a style that is no mix is its only part."""
        parts = self.source.get("parts")
        return [(part, float(part["share"])) for part in parts] if parts else [(self.source, 1.0)]


EVERYWHERE = "everywhere"


@dataclass(frozen=True, eq=False)
class Recorded:
    """A result: its ``path`` and ``manifest``."""

    path: Path
    manifest: Mapping[str, Any]

    @staticmethod
    def of(path: Path) -> Recorded:
        """The manifest in a picture, or beside it as JSON. Raises PictureError where there is none, and for a damaged
        one.
        """
        if not path.exists():
            raise PictureError(f"There is no file {path}: check the name.")
        try:
            manifest = read_manifest(path)
        except PictureError:
            beside = sidecar_path(path)
            if not beside.is_file():
                raise
            manifest = _read_json(beside)
        if "method" not in manifest and "benchmark" in manifest:
            maker = f"the outsider {manifest['outsider']}" if "outsider" in manifest else "an earlier version"
            raise PictureError(
                f"{path} was made by {maker} in a benchmark, and holds no settings to show or to make it again from: "
                "run the benchmark again."
            )
        wrong = [name for name, kind in NEEDED.items() if not isinstance(manifest.get(name), kind)]
        if wrong or not manifest["regions"] or not all(isinstance(each, Mapping) for each in manifest["regions"]):
            raise PictureError(
                f"The manifest of {path} is damaged ('{(wrong or ['regions'])[0]}' is missing or wrong)."
            )
        return Recorded(path, manifest)

    @cached_property
    def regions(self) -> Sequence[RecordedRegion]:
        """The regions, in order. Raises PictureError for damaged ones."""
        try:
            return [RecordedRegion.of(entry) for entry in self.manifest["regions"]]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise PictureError(f"The manifest of {self.path} is damaged (its regions cannot be read).") from None

    def text(self, *names: str) -> str:
        """An entry, by the names on the way to it, as text; empty where there is none."""
        found: Any = self.manifest
        for name in names:
            found = found.get(name) if isinstance(found, Mapping) else None
        return "" if found is None else str(found)

    @property
    def scores(self) -> dict[str, float]:
        """The scores, by name; those that are numbers."""
        scores = self.manifest.get("scores")
        found = scores if isinstance(scores, Mapping) else {}
        return {str(name): float(value) for name, value in found.items() if isinstance(value, int | float)}

    @property
    def loss_curves(self) -> dict[str, list[float]]:
        """The losses at every step, by name; of a result in several crops with the crop's number."""
        crops = self.manifest.get("crops") or [self.manifest]
        several = len(crops) > 1
        return {
            f"{name} (crop {number})" if several else str(name): [float(value) for value in values]
            for number, crop in enumerate(crops, 1)
            for name, values in (crop.get("loss_curves") or self.manifest.get("loss_curves") or {}).items()
        }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        return dict(manifest)
    except (OSError, ValueError, TypeError):
        raise PictureError(f"{path} is damaged: it is no manifest of this program.") from None
