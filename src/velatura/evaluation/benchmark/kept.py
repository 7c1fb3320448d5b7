"""A benchmark's results on disk: pictures that hold what they cost, and one file a row, each written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from velatura.errors import PictureError, SettingError
from velatura.evaluation.benchmark.plan import Entry, Pair, Plan
from velatura.evaluation.measures import DIRECTIONS
from velatura.evaluation.outsiders import OUTSIDERS
from velatura.picture import open_picture, read_manifest, save_picture
from velatura.picture.writing import replacing

Row = dict[str, Any]
ENTRY_FILE = "entry.json"


@dataclass(frozen=True)
class KeptEntry:
    """An entry as its folder tells of it: ``told`` is what its pictures depend on beside content and style."""

    name: str
    told: Mapping[str, Any]

    @staticmethod
    def of(entry: Entry, plan: Plan) -> KeptEntry:
        """What a plan's entry leaves in its folder."""
        return KeptEntry(entry.name, {**entry.description(plan.seed, plan.side), "model": plan.model})

    @property
    def label(self) -> str:
        """The name without the strength that was asked for."""
        strength = self.told["strength"]
        return self.name if strength is None else self.name.removesuffix(f"-wt_{strength:g}")


@dataclass(frozen=True, eq=False)
class Painted:
    """A picture that was made: how (``manifest``), and what it cost (``spent``)."""

    image: Image.Image
    manifest: Mapping[str, Any]
    spent: Mapping[str, Any]


@dataclass(frozen=True)
class KeptRows:
    """A folder: ``pictures/ENTRY/PAIR.png``, ``rows/ENTRY/PAIR.json`` and ``rows/ENTRY/entry.json``, what it is about.

    A picture carries what it cost, so that a run that was killed between picture and row measures it, and no more.
    """

    folder: Path

    def claim(self, entry: Entry, plan: Plan) -> None:
        """Reserve the entry's folder. Raises SettingError where it holds results of other settings."""
        told, path = KeptEntry.of(entry, plan).told, self.folder / "rows" / entry.name / ENTRY_FILE
        found = _read(path)
        if found is None:
            with replacing(path) as file:
                file.write_text(json.dumps(told, indent=1))
        elif found != told:
            differing = sorted(name for name in {*found, *told} if found.get(name) != told.get(name))
            raise SettingError(
                f"{path.parent} holds results of other settings ({', '.join(differing)}): name another --out, or give "
                f"the method another label, as new={entry.stylizer.name}."
            )

    def entries(self, side: int, seed: int) -> list[KeptEntry]:
        """The entries that the folder holds of a size and a seed: outsiders first, then by name and strength."""
        found = [(path.parent.name, _read(path)) for path in sorted(self.folder.glob(f"rows/*/{ENTRY_FILE}"))]
        entries = [KeptEntry(name, told) for name, told in found if told is not None]
        fitting = [entry for entry in entries if (entry.told["size"], entry.told["seed"]) == (side, seed)]
        return sorted(fitting, key=_place)

    def picture(self, entry: str, pair: Pair) -> Path:
        """Where the picture of a pair by an entry is."""
        return self.folder / "pictures" / entry / f"{pair.name}.png"

    def spent(self, entry: str, pair: Pair) -> dict[str, Any] | None:
        """What the picture of a pair cost; None where it is not there, damaged, or of other pictures."""
        path = self.picture(entry, pair)
        try:
            spent = dict(read_manifest(path)["benchmark"])
            open_picture(path)
        except (PictureError, KeyError):
            return None
        return spent if of_pair(spent, pair) else None

    def keep_picture(self, entry: str, pair: Pair, painted: Painted) -> None:
        """Write a pair's picture with its manifest and what it cost inside."""
        benchmark = {**painted.spent, **digests(pair)}
        save_picture(painted.image, self.picture(entry, pair), {**painted.manifest, "benchmark": benchmark})

    def row(self, entry: str, pair: Pair) -> Row | None:
        """The row of a pair; None where it is not there, of other pictures, or without some measure."""
        found = self._row(entry, pair)
        return found if DIRECTIONS.keys() <= found.keys() else None

    def finished(self, entry: str, pair: Pair) -> Row | None:
        """The row of a pair whose picture is here too; None where something is to be done again."""
        return self.row(entry, pair) if self.picture(entry, pair).is_file() else None

    def scores(self, entry: str, pair: Pair) -> dict[str, float]:
        """The measures that were taken of a pair's picture, perhaps before there were others."""
        found = self._row(entry, pair)
        return {name: found[name] for name in DIRECTIONS if name in found}

    def keep_row(self, entry: str, pair: Pair, row: Row) -> None:
        """Write a pair's row. Raises PictureError where it cannot be written."""
        with replacing(self._row_file(entry, pair)) as file:
            file.write_text(json.dumps(row))

    def _row(self, entry: str, pair: Pair) -> Row:
        """What is there of a pair's row; empty where it is not of these pictures."""
        found = _read(self._row_file(entry, pair))
        return found if found is not None and of_pair(found, pair) else {}

    def _row_file(self, entry: str, pair: Pair) -> Path:
        return self.folder / "rows" / entry / f"{pair.name}.json"


def _place(entry: KeptEntry) -> tuple[int, str, float]:
    """Where an entry stands in tables."""
    order, method = [*OUTSIDERS], entry.told["method"]
    number = order.index(method) if method in order else len(order)
    return number, entry.label, entry.told["strength"] or 0.0


def digests(pair: Pair) -> dict[str, str]:
    """The SHA-256 of a pair's files, as rows and pictures hold them."""
    return {"content_sha256": pair.content.digest, "style_sha256": pair.style.digest}


def of_pair(found: Mapping[str, Any], pair: Pair) -> bool:
    """Whether something was made of just these pictures."""
    return all(found.get(name) == digest for name, digest in digests(pair).items())


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found
