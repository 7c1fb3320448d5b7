"""Methods as a benchmark runs them: a Studio's model, styles fitted once, every picture's cost its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from velatura.app.options import parse_settings
from velatura.app.studio import Studio
from velatura.cache import tensor_digest
from velatura.errors import SettingError
from velatura.evaluation.benchmark.plan import Entry
from velatura.evaluation.outsiders import Outsider, outsider_class
from velatura.evaluation.stylizer import Stylized
from velatura.methods.base import Method
from velatura.methods.context import RunContext
from velatura.methods.style_fitting import fit_style
from velatura.picture import Picture, image_to_pixels, open_picture, pixels_to_image, save_picture
from velatura.regions import Region
from velatura.registry import method_class
from velatura.style import Style

INPUTS = "inputs"  # the folder of contents and styles as methods get them, beside the library's


@dataclass
class FittedStyles:
    """Styles that methods share, each fitted once."""

    studio: Studio
    known: dict[tuple[str, ...], Style] = field(default_factory=dict)

    def picture(self, pixels: Tensor) -> Picture:
        """A content or a style as the file that ``velatura reproduce --inputs`` finds by its hash, kept once."""
        path = self.studio.library.folder.parent / INPUTS / f"{tensor_digest(pixels)[:12]}.png"
        if not path.is_file():
            save_picture(pixels_to_image(pixels), path, {})
        return open_picture(path)

    def of(self, method: Method, picture: Picture) -> Style:
        """The style of a picture; a fit that was interrupted goes on."""
        key = (method.style_method, picture.digest, repr(method.style_view), repr(dict(method.fit_settings)))
        if key not in self.known:
            folder = self.studio.library.folder.parent / "fits"
            checkpoint = folder / f"{method.style_method}-{picture.digest[:16]}.safetensors"
            context = RunContext(self.studio.backbone)
            self.known[key] = fit_style(method, [picture], picture.name, context, None, checkpoint)
        return self.known[key]


@dataclass(frozen=True, eq=False)
class MethodStylizer:
    """A method as a ``Stylizer``. Nothing computed for a picture is kept for the next, so that each costs what it costs
    alone, and a benchmark that was interrupted counts as one that was not.
    """

    method: Method
    styles: FittedStyles

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """The method's settings, with the model's recommendations."""
        return asdict(self.method.resolved(self.styles.studio.backbone))

    @property
    def evaluations(self) -> int:
        """Evaluations of the model's denoising network so far."""
        return self.styles.studio.backbone.evaluations

    def at(self, strength: float) -> MethodStylizer:
        """The method with another strength. Raises SettingError for one out of range."""
        changed: dict[str, Any] = {"strength": strength}
        return replace(self, method=replace(self.method, **changed))

    def prepare(self, style: Tensor) -> None:
        """Fit the style."""
        self.styles.of(self.method, self.styles.picture(style))

    def stylize(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        """The method's result."""
        return self.stylize_with_manifest(content, style, seed).pixels

    def stylize_with_manifest(self, content: Tensor, style: Tensor, seed: int) -> Stylized:
        """The method's result, and the manifest that it would have as a file of ``velatura stylize``."""
        fitted = self.styles.of(self.method, self.styles.picture(style))
        context = RunContext(self.styles.studio.backbone, seed)
        made = self.method.stylize([self.styles.picture(content)], [Region(fitted)], context)[0]
        return Stylized(image_to_pixels(made.picture), made.manifest)


@dataclass(frozen=True)
class Entrants:
    """Who takes part: ``methods`` and ``outsiders`` as NAME or LABEL=NAME with commas between, ``settings`` as
    LABEL:NAME=VALUE, ``strengths`` for all that have one (empty: their own).
    """

    methods: str
    outsiders: str
    settings: Sequence[str] = ()
    strengths: Sequence[float] = ()

    def entries(self, studio: Studio, side: int) -> list[Entry]:
        """The entries of a benchmark at a size. Raises SettingError for what cannot be read."""
        methods, outsiders = _named(self.methods), _named(self.outsiders)
        twice = next((label for label in methods if label in outsiders), None)
        if twice is not None:
            raise SettingError(f"{twice} is named as a method and as an outsider: give one of them a label.")
        asked = self._settings([*methods])
        styles = FittedStyles(studio)
        found: list[Entry] = []
        for label, name in outsiders.items():
            found += self._swept(label, outsider_class(name)(lambda: studio.backbone))
        for label, name in methods.items():
            chosen, settings = parse_settings(name, asked[label], None)
            method = method_class(chosen)(**{"size": side, **settings})
            found += self._swept(label, MethodStylizer(method, styles))
        if not found:
            raise SettingError("Nobody takes part: name --methods or --outsiders.")
        return found

    def _swept(self, label: str, own: MethodStylizer | Outsider) -> list[Entry]:
        """An entry for each strength, or the one with its own."""
        if not self.strengths or "strength" not in own.settings:
            return [Entry(label, own)]
        return [Entry(label, own.at(strength), strength) for strength in self.strengths]

    def _settings(self, labels: Sequence[str]) -> dict[str, list[str]]:
        """What is set for each label."""
        asked: dict[str, list[str]] = {label: [] for label in labels}
        for entry in self.settings:
            label, colon, setting = entry.partition(":")
            if not colon or label not in asked:
                raise SettingError(f"--set {entry} is not of the form LABEL:NAME=VALUE, of a label in --methods.")
            asked[label].append(setting)
        return asked


def _named(text: str) -> dict[str, str]:
    """Names by label from "NAME,LABEL=NAME". Raises SettingError for a label that stands twice or is no folder's."""
    found: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        label, _, name = entry.partition("=")
        if label in found:
            raise SettingError(f"{label} is named twice: give one a label, as other={name or label}.")
        if not label.replace("-", "").replace("_", "").isalnum():
            raise SettingError(f"The label '{label}' names a folder: use letters, digits, - and _.")
        found[label] = name or label
    return found
