"""Several contents at several strengths, as one call of ``velatura stylize`` makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from velatura.app.files import Destination, destinations
from velatura.app.studio import Studio, configured
from velatura.errors import SettingError
from velatura.methods.base import Method, Stylization
from velatura.picture import Picture, open_picture, save_picture
from velatura.picture.writing import picture_format
from velatura.registry import method_class

TOGETHER = 4  # contents that are opened and stylised at a time
LAYOUTS = ("flat", "paper")


@dataclass(frozen=True)
class Sweep:
    """Every file in the styles, or in the regions' styles, at every strength (None: the method's own).

    ``styles`` are names or pictures with weights, ``regions`` pairs of a query and a style, ``settings`` the method's.
    """

    files: Sequence[Path]
    styles: Mapping[str | Path, float]
    regions: Sequence[tuple[str, str]]
    method: str
    settings: Mapping[str, Any]
    strengths: Sequence[float | None]

    def _settings(self, strength: float | None) -> dict[str, Any]:
        return dict(self.settings) | ({} if strength is None else {"strength": strength})

    def destinations(self, out: Path | None, layout: str) -> list[list[Destination]]:
        """The results' paths, a list for each strength. Raises SettingError for an unknown layout."""
        chosen = layout or (method_class(self.method).layout if out is None else "flat")
        if chosen not in LAYOUTS:
            raise SettingError(f"The layout must be {' or '.join(LAYOUTS)}, not '{layout}'.")
        named = [*self.styles, *(style for _, style in self.regions)]
        style = "+".join(Path(style).stem for style in named)
        strengths = [_strength(configured(self.method, self._settings(s))) for s in self.strengths]
        return destinations(self.files, out, chosen, style, strengths)

    def check(self, targets: Sequence[Sequence[Destination]]) -> None:
        """Check the results' paths before the model is loaded. Raises PictureError for an unknown picture format."""
        for destination in (d for of_strength in targets for d in of_strength):
            picture_format(destination.picture)

    def _results(
        self, studio: Studio, contents: Sequence[Picture], seed: int, settings: Mapping[str, Any]
    ) -> list[Stylization]:
        if not self.regions:
            return studio.stylize_all(contents, self.styles, seed, self.method, **settings)
        return [studio.stylize_regions(content, self.regions, seed, self.method, **settings) for content in contents]

    def run(
        self,
        studio: Studio,
        targets: Sequence[Sequence[Destination]],
        seed: int,
        sidecar: bool,
        say: Callable[[str], None],
    ) -> Iterator[Path]:
        """Make and save the results, ``TOGETHER`` contents at a time; yield their paths. ``say`` gets notes."""
        for first in range(0, len(self.files), TOGETHER):
            contents = [open_picture(file) for file in self.files[first : first + TOGETHER]]
            for note in (note for content in contents for note in content.notes):
                say(note)
            for strength, row in zip(self.strengths, targets, strict=True):
                results = self._results(studio, contents, seed, self._settings(strength))
                for result, target in zip(results, row[first : first + TOGETHER], strict=True):
                    if target.edges is not None and "canny" in result.layers:
                        save_picture(result.layers["canny"], target.edges, {})
                    yield save_picture(result.picture, target.picture, result.manifest, result.alpha, sidecar)


def _strength(method: Method) -> float:
    """The share of the run that is taken; 1 for a method that always takes it whole."""
    return float(getattr(method, "strength", 1.0))
