"""Gathering what a report shows of a result: its inputs, found by their hashes, its layers and measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from velatura.app.input_search import InputSearch
from velatura.app.recorded import Recorded
from velatura.app.report.entries import Entry, Figure
from velatura.app.report.measuring import measured
from velatura.app.report.page import data_uri
from velatura.errors import VelaturaError
from velatura.methods.base import Stylization
from velatura.picture import Picture, open_picture
from velatura.style import StyleLibrary
from velatura.style.pictures import pictures_of

THUMBNAIL = 640  # pixels of a layer's or a style's longest side


@dataclass(frozen=True, eq=False)
class Gathering:
    """Finds style pictures in the ``library``, and files where ``search`` looks; ``more`` scores need the model."""

    library: StyleLibrary
    search: InputSearch
    more: Callable[[Recorded, Picture], Mapping[str, float]] = lambda recorded, content: {}

    def entry(self, recorded: Recorded, result: Stylization, content: Picture | None) -> Entry:
        """What a page shows of a result that was just made."""
        entry = self._entry(recorded, result.picture, content, result.layers)
        more = {} if content is None else self.more(recorded, content)
        return replace(entry, measures={**entry.measures, **more})

    def entry_of_file(self, recorded: Recorded) -> Entry:
        """What a page shows of a picture's file: without layers, and without the inputs that are not found."""
        found = self.search.find(recorded.text("content", "sha256"), recorded.text("content", "file"))
        return self._entry(recorded, open_picture(recorded.path).image, open_picture(found) if found else None, {})

    def _entry(
        self, recorded: Recorded, picture: Image.Image, content: Picture | None, layers: Mapping[str, Image.Image]
    ) -> Entry:
        styles = self._styles(recorded)
        figures = [Figure(name, data_uri(image, THUMBNAIL)) for name, image in styles.items()]
        shown = [Figure(_caption(name), data_uri(image, THUMBNAIL)) for name, image in layers.items()]
        if content is None:
            return Entry(recorded, data_uri(picture), styles=figures, layers=shown)
        compared = list(styles.values()) if len(recorded.regions) == 1 and recorded.regions[0].is_whole else []
        measures = measured(picture, content.image, compared)
        return Entry(recorded, data_uri(picture), data_uri(content.image), figures, shown, measures)

    def _styles(self, recorded: Recorded) -> dict[str, Image.Image]:
        """The style pictures that are found, by the styles' names."""
        sources = [source for region in recorded.regions for source, _ in region.parts]
        found = {str(source["name"]): self._picture(source) for source in sources}
        return {name: image for name, image in found.items() if image is not None}

    def _picture(self, source: Mapping[str, Any]) -> Image.Image | None:
        """A style's picture: its file, or the one that the library's style keeps; None where neither is here."""
        path = self.search.find(str(source.get("sha256", "")), str(source.get("file", "")))
        try:
            if path is not None:
                return open_picture(path).image
            kept = pictures_of(self.library.load(str(source["name"])))
        except VelaturaError:
            return None
        return kept[0][0] if kept else None


def _caption(layer: str) -> str:
    """A layer's name in words: mask0 is the first region's mask."""
    number = layer.removeprefix("mask")
    return f"mask of region {int(number) + 1}" if layer.startswith("mask") and number.isdigit() else layer
