"""Making a result again from its manifest: its inputs are found by hash, its styles by identity or fitted again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from velatura.app.input_search import InputSearch
from velatura.app.recorded import EVERYWHERE, Recorded, RecordedRegion
from velatura.app.studio import Studio, configured, text_style
from velatura.errors import PictureError, SettingError, StyleError
from velatura.methods.base import Method, Stylization
from velatura.picture import Picture, open_picture, save_picture
from velatura.picture.writing import FORMATS
from velatura.regions import Query, Region, parse_query
from velatura.regions.query import NOT, PictureQuery
from velatura.registry import method_class
from velatura.span import Span
from velatura.style import Style


@dataclass(eq=False)
class Reproduction:
    """A ``recorded`` result on a Studio. ``content`` and ``styles`` (pictures, style files, names of the library) are
    taken instead of what ``search`` finds. ``notes`` collects sentences on what is not as it was.
    """

    recorded: Recorded
    studio: Studio
    search: InputSearch
    content: Path | None = None
    styles: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)

    def make(self) -> Stylization:
        """The result. Raises PictureError, StyleError or SettingError for an input that is not found."""
        content = self.opened
        method = self.method()
        place, together = self.recorded.manifest.get("batch") or (0, 1)
        with threads(self.recorded.manifest.get("computed_on") or {}):
            regions = [self._region(number, region, method) for number, region in enumerate(self.recorded.regions, 1)]
            context = self.studio.context(int(self.recorded.manifest["seed"]))
            result = method.stylize([content] * int(together), regions, context)[int(place)]
        self.notes += differences(self.recorded.manifest, result.manifest)
        # The manifest's settings name what was left to the model too: it stays told as left to it.
        left = {name: self.recorded.manifest[name] for name in ("recommended",) if name in self.recorded.manifest}
        return replace(result, manifest={**result.manifest, **left})

    @cached_property
    def opened(self) -> Picture:
        """The content: the one that was given, or found by its hash."""
        name, sha256 = self.recorded.text("content", "name"), self.recorded.text("content", "sha256")
        path = self.content or self._found(self.recorded.manifest["content"])
        if path is None:
            raise PictureError(
                f"The content '{name}' ({sha256[:12]}…) is not here: name it with --content, or a folder with --inputs."
            )
        picture = open_picture(path)
        if sha256 not in (picture.digest, Picture.of(picture.image).digest):
            self.notes.append(f"{path} is not the content that was used: its hash differs.")
        return picture

    def files(self) -> list[Path]:
        """All files that are read, as far as they are here."""
        regions = self.recorded.regions
        masks = [{"sha256": region.where_sha256, "file": region.where.replace(NOT, "")} for region in regions]
        fitted = [file for region in regions for source, _ in region.parts for file in _files_of(source)]
        found = map(self._found, [self.recorded.manifest["content"], *masks, *fitted])
        given = [path for path in (self.content, *map(Path, self.styles)) if path is not None]
        return [self.recorded.path, *given, *(path for path in found if path is not None)]

    def method(self) -> Method:
        """The method with the settings of the manifest. Raises SettingError for settings of another version."""
        name = self.recorded.manifest["method"]
        settings = {**method_class(name).added, **self.recorded.manifest["settings"]}
        return configured(name, restored(name, settings))

    def _region(self, number: int, region: RecordedRegion, method: Method) -> Region:
        parts = [(self._style(source, method), share) for source, share in region.parts]
        style = method.mix(parts) if len(parts) > 1 else parts[0][0]
        start, end = region.span
        return Region(style, self._query(number, region), region.weight, Span(start, end))

    def _query(self, number: int, region: RecordedRegion) -> Query | None:
        """What finds the region's mask; a mask picture is found by its hash."""
        if region.where == EVERYWHERE:
            return None
        if region.where_sha256:
            named = region.where.replace(NOT, "")
            found = self.search.find(region.where_sha256, named)
            if found is None:
                raise PictureError(f"The mask {named} of region {number} is not here: name its folder with --inputs.")
            text = region.where.removesuffix(named)
            return parse_query(f"{text}{found}") if text else PictureQuery(found)
        try:
            return parse_query(region.where)
        except SettingError:
            raise SettingError(
                f"Region {number} had {region.where}, which the manifest cannot hold: save it as a picture and use "
                "velatura stylize --region."
            ) from None

    def _style(self, source: Mapping[str, Any], method: Method) -> Style:
        """A style: the one that was given, in words, of the library, or fitted again to its picture."""
        style = self._given_style(source) or self._kept_style(source)
        if style is None and source.get("text"):
            return text_style(str(source["text"]), method)
        if style is None:
            style = self._fitted_style(source)
        if source.get("identity") not in ("", None, style.identity):
            self.notes.append(f"The style '{source['name']}' is not the one that was used: what was fitted differs.")
        return style

    def _given_style(self, source: Mapping[str, Any]) -> Style | None:
        """The style among those that were given: by its hash, or the only one."""
        for given in self.styles:
            path = Path(given)
            known = path.is_file() and self.search.digest(path) == source.get("sha256")
            only = len(self.styles) == 1 and sum(len(region.parts) for region in self.recorded.regions) == 1
            if not (known or only or given == source["name"]):
                continue
            if path.suffix == ".safetensors":
                return Style.load(path)
            return self._fit([path], source) if path.is_file() else self.studio.library.load(given)
        return None

    def _kept_style(self, source: Mapping[str, Any]) -> Style | None:
        """The library's style of the same identity, whatever its name is now."""
        names = self.studio.library.names()
        for name in sorted(names, key=lambda name: name != source["name"]):
            try:
                style = self.studio.library.load(name)
            except StyleError:
                continue
            if style.identity == source.get("identity"):
                return style
        return None

    def _fitted_style(self, source: Mapping[str, Any]) -> Style:
        """The style fitted again. Raises StyleError where a picture or its mask is not here, and for an import."""
        files = _files_of(source)
        found = [self._found(each) for each in files]
        here = [path for path in found if path is not None]
        if len(here) < len(found) or source.get("imported"):
            missing = "a picture or a mask that is" if len(files) > 1 else "a picture that is"
            why = "was imported" if source.get("imported") else f"was fitted to {missing} not here"
            raise StyleError(
                f"The style '{source['name']}' {why}: give its file or its picture with --style, or a folder to look "
                "in with --inputs."
            )
        mask = here.pop() if source.get("mask") else None
        return self._fit(here, source, mask)

    def _found(self, entry: Mapping[str, Any]) -> Path | None:
        """The file of an entry of the manifest, by its hash."""
        return self.search.find(str(entry.get("sha256", "")), str(entry.get("file", "")))

    def _fit(self, pictures: Sequence[Path], source: Mapping[str, Any], mask: Path | None = None) -> Style:
        name = str(source.get("method") or method_class(self.recorded.manifest["method"]).style_method)
        settings = restored(name, source.get("settings") or {})
        settings |= {view: source[view] for view in ("style_scale", "style_ground") if source.get(view)}
        return self.studio.fit([*pictures], source["name"], name, mask, **settings)


def _files_of(source: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The pictures that a style was fitted to, then its mask, as the manifest names them."""
    return [*(source.get("pictures") or [source]), *([source["mask"]] if source.get("mask") else [])]


def restored(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON keeps them, as the method takes them: with spans and tuples again."""
    defaults = method_class(method)()
    kinds = {each.name: type(getattr(defaults, each.name)) for each in fields(defaults)}
    return {name: tuple(value) if kinds.get(name) is tuple else _with_spans(value) for name, value in settings.items()}


def _with_spans(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"start", "end"}:
        return Span(float(value["start"]), float(value["end"]))
    return {name: _with_spans(inner) for name, inner in value.items()}


@contextmanager
def threads(computed_on: Mapping[str, Any]) -> Iterator[None]:
    """The number of threads that sums were split over, where this machine has as many: it decides about last bits."""
    before, wanted = torch.get_num_threads(), computed_on.get("threads")
    if isinstance(wanted, int) and 0 < wanted <= (os.cpu_count() or 1) and wanted != before:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for each version, part of the machine, model, network, adapter, or mask that is not what it was."""
    told = [f"The model's fingerprint was {then.get('model_fingerprint')} and is {now.get('model_fingerprint')}."]
    found = told if then.get("model_fingerprint") != now.get("model_fingerprint") else []
    for entry in ("versions", "computed_on"):
        was, this = then.get(entry) or {}, now.get(entry) or {}
        names = [name for name in this if name in was and was[name] != this[name]]
        found += [f"{name} was {was[name]} and is {this[name]}." for name in names]
    networks = ["fast_networks"] if "fast_networks" in then else []  # older manifests do not tell of them
    for entry in ("adapters", *networks):
        was, this = then.get(entry) or {}, now.get(entry) or {}
        names = sorted(name for name in {*was, *this} if was.get(name) != this.get(name))
        found += [f"The {name} is not the one that was used." for name in names]
    pairs = enumerate(zip(then["regions"], now["regions"], strict=False), 1)
    return found + [
        f"The mask of region {number} is not the one that was used."
        for number, (was, this) in pairs
        if was.get("mask_sha256", this["mask_sha256"]) != this["mask_sha256"]
    ]


def pixel_difference(result: Stylization, original: Path) -> tuple[float, int] | None:
    """Mean and largest difference (0..255) from the picture in a file, as that file's format keeps pixels; None for
    pictures of different sizes.
    """
    with tempfile.TemporaryDirectory() as folder:
        suffix = original.suffix if original.suffix.lower() in FORMATS else ".png"
        again = save_picture(result.picture, Path(folder) / f"again{suffix}", {}, result.alpha)
        ours, theirs = _pixels(again), _pixels(original)
    if ours.shape != theirs.shape:
        return None
    apart = np.abs(ours.astype(np.int16) - theirs)
    return float(apart.mean()), int(apart.max())


def _pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))
