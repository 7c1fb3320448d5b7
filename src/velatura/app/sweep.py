"""Several contents in several styles at several strengths, as one call of ``velatura stylize`` asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from velatura.app.files import SUFFIXES, ContentFile, Naming
from velatura.app.options import AUTO, parse_region_style
from velatura.app.studio import TEXT_STYLE, configured
from velatura.app.targets import Inputs, Target, files_among
from velatura.errors import SettingError
from velatura.methods.adapters.controlling import ONE_PHOTO, names_control_picture
from velatura.methods.base import Method
from velatura.picture.writing import picture_format
from velatura.registry import method_class

Strength = float | str | None  # None: the method's own; "auto": chosen for each pair
LAYOUTS = ("flat", "paper")
EDGE_SOURCES = ("canny", "hed")


@dataclass(frozen=True)
class Where:
    """Where a sweep's results go: the options ``--out`` and ``--layout``, and whether manifests are written beside."""

    out: Path | None = None
    layout: str = ""
    sidecar: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """One result to make: a content, the styles with weights (none with regions), a strength, and its target."""

    content: ContentFile
    styles: Mapping[str | Path, float]
    strength: Strength
    target: Target


@dataclass(frozen=True)
class Sweep:
    """Every content in each of ``choices`` (styles with weights), or in the regions' styles, at every strength.

    ``regions`` are pairs of a query and a style; ``settings`` are the method's, a strength of None is its own.
    """

    contents: Sequence[ContentFile]
    choices: Sequence[Mapping[str | Path, float]]
    regions: Sequence[tuple[str, str]]
    method: str
    settings: Mapping[str, Any]
    strengths: Sequence[Strength] = (None,)

    def __post_init__(self) -> None:
        if AUTO in self.strengths and self.regions:
            raise SettingError("--strength auto is for one style on the whole photo: give regions a number.")
        if names_control_picture(self.settings) and len(self.contents) > 1:
            raise SettingError(ONE_PHOTO)

    def configured(self, strength: Strength) -> Method:
        """The method with its settings at a strength; with its own where that is chosen later."""
        return configured(self.method, self.settings_at(None if strength == AUTO else strength))

    def settings_at(self, strength: Strength) -> dict[str, Any]:
        """The method's settings at a strength."""
        return dict(self.settings) | ({} if strength is None else {"strength": strength})

    @cached_property
    def shares(self) -> list[float]:
        """The strengths as numbers; 1 for a method that always takes the run whole."""
        return [float(getattr(self.configured(strength), "strength", 1.0)) for strength in self.strengths]

    def jobs(self, where: Where) -> list[Job]:
        """What is to be made, content by content, with the targets that are wished.

        Raises SettingError for an unknown layout, PictureError for an unknown picture format and for several contents
        and one picture's path.
        """
        choices = list(self.choices) or [{}]
        naming = Naming(where.out, self._layout(where), self._edges(), where.sidecar)
        labels = [self._label(choice) for choice in choices]
        wishes = naming.wishes(self.contents, labels, self.shares)
        for wish in wishes.values():
            picture_format(wish.file)
        return [Job(self.contents[i], choices[j], self.strengths[k], wish) for (i, j, k), wish in wishes.items()]

    def _layout(self, where: Where) -> str:
        if AUTO in self.strengths and where.layout == "paper":
            raise SettingError("--layout paper sorts by strengths that are known: give --strength numbers.")
        usual = "flat" if where.out is not None or AUTO in self.strengths else method_class(self.method).layout
        chosen = where.layout or usual
        if chosen not in LAYOUTS:
            raise SettingError(f"The layout must be {' or '.join(LAYOUTS)}, not '{chosen}'.")
        return chosen

    def _edges(self) -> str:
        """The name of the folder of edge pictures; empty for a method, or a setting, without any."""
        source = getattr(self.configured(self.strengths[0]), "edges", "none")
        return "" if source == "none" else source if source in EDGE_SOURCES else "edges"

    def _label(self, choice: Mapping[str | Path, float]) -> str:
        named = list(choice) or [parse_region_style(style)[0] for _, style in self.regions]
        return "+".join(_plain_name(str(style)) for style in named)

    def inputs(self) -> Inputs:
        """All files that the sweep reads."""
        styles = [style for choice in self.choices for style in choice]
        regions = [text for where, style in self.regions for text in (where, style, parse_region_style(style)[0])]
        settings = [value for value in self.settings.values() if isinstance(value, str | Path) and str(value)]
        return Inputs([*(content.path for content in self.contents), *files_among([*styles, *regions, *settings])])


def _plain_name(style: str) -> str:
    """A style's name for labels: of a picture its file's stem, of words the words."""
    if style.startswith(TEXT_STYLE):
        return style.removeprefix(TEXT_STYLE)
    path = Path(style)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name
