"""Results of a benchmark on disk: a run that stopped goes on, and a new measure is taken of the kept pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import Metric
from PIL import Image
from torch import Tensor

from velatura.errors import SettingError
from velatura.picture import Picture, image_to_pixels
from velatura.whole_file import whole_file


@dataclass(frozen=True)
class Part:
    """A style and the mask (1, 1, h, w) where it goes; None: everywhere. ``mask_file`` is the mask's picture."""

    style: Picture
    pixels: Tensor
    mask: Tensor | None = None
    mask_file: Path | None = None


@dataclass(frozen=True)
class Example:
    """A content, its pixels (1, 3, h, w) as results are measured against them, and the styles that go on it."""

    name: str
    content: Picture
    pixels: Tensor
    parts: Sequence[Part]

    def score_names(self) -> list[str]:
        """The names that the parts' scores are kept under."""
        return [self.name] if len(self.parts) == 1 else [f"{self.name}, {part.style.name}" for part in self.parts]


@dataclass
class KeptResults:
    """A method's pictures and scores in a folder. Raises SettingError where other settings have been there before."""

    folder: Path
    settings: Mapping[str, Any]
    known: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._read()

    def _read(self) -> None:
        """Take over what is on disk, where another process may have written too."""
        if self._file.exists():
            kept = json.loads(self._file.read_text())
            if kept["settings"] != json.loads(json.dumps(self.settings, default=str)):
                raise SettingError(
                    f"{self.folder} holds results of other settings ({kept['settings']}): name another --out."
                )
            for key, scores in kept["scores"].items():
                self.known[key] = scores | self.known.get(key, {})

    @property
    def _file(self) -> Path:
        return self.folder / "scores.json"

    def _save(self) -> None:
        self._read()
        with whole_file(self._file) as file:
            file.write_text(json.dumps({"settings": self.settings, "scores": self.known}, indent=1, default=str))

    def path(self, example: Example) -> Path:
        """Where the picture of an example is."""
        return self.folder / f"{example.name}.png"

    def make(self, example: Example, paint: Callable[[], tuple[Image.Image, float]]) -> None:
        """Paint the example, which returns picture and seconds, unless that was done."""
        self._read()
        if self.path(example).exists() and all("seconds" in self.known.get(key, {}) for key in example.score_names()):
            return
        picture, seconds = paint()
        with whole_file(self.path(example)) as file:
            picture.save(file, "PNG")
        self.known |= {key: {"seconds": seconds} for key in example.score_names()}
        self._save()

    def measure(self, example: Example, chosen: Mapping[str, Metric]) -> None:
        """Measure what was not measured of the example's picture, part by part."""
        missing = [name for name in chosen if any(name not in self.known[key] for key in example.score_names())]
        if not missing:
            return
        height, width = example.pixels.shape[2:]
        with Image.open(self.path(example)) as opened:
            result = image_to_pixels(opened, (width, height))
        for key, part in zip(example.score_names(), example.parts, strict=True):
            scores = {name: chosen[name](result, example.pixels, part.pixels, part.mask) for name in missing}
            self.known[key].update({name: float(value) for name, value in scores.items()})
        self._save()

    def column(self, name: str, keys: Sequence[str]) -> list[float]:
        """The scores called ``name`` of those ``keys``."""
        return [self.known[key][name] for key in keys]


def worst_tenth(values: Sequence[float], name: str) -> float:
    """The mean of the worst tenth, by the arrow in the measure's name; what has none is worst far from 1."""
    key: Callable[[float], float] = abs if "↓" in name else (lambda v: -v) if "↑" in name else (lambda v: abs(v - 1))
    worst = sorted(values, key=key, reverse=True)[: -(-len(values) // 10)]
    return sum(worst) / len(worst)


def mean(values: Sequence[float]) -> float:
    """The mean of some numbers."""
    return sum(values) / len(values)
