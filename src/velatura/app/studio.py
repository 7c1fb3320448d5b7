"""The entry point from Python: one model, a style library and a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from PIL import Image

from velatura.app.auto_strength import check_has_strength, stylize_at_knee
from velatura.app.former_names import Choice, current
from velatura.app.home import styles_folder
from velatura.app.options import AUTO, no_setting, parse_region_style, with_resolution
from velatura.app.pictures import PictureLike, as_picture
from velatura.app.preview import OnStep, Previews
from velatura.cache import Cache
from velatura.errors import SettingError
from velatura.methods.adapters.given import GivenAdapters
from velatura.methods.base import Method, Stylization
from velatura.methods.context import RunContext
from velatura.methods.style_fitting import fit_style
from velatura.methods.validation import check_seed
from velatura.models.backbone import Backbone
from velatura.models.loading.catalogue import HOUSE
from velatura.models.loading.load import backbone_of_pipeline, load_backbone
from velatura.picture import Picture
from velatura.progress import Progress, Silent
from velatura.regions import Query, Region, parse_query
from velatura.regions.query import ImageQuery
from velatura.registry import method_class, methods_with
from velatura.span import WHOLE_RUN
from velatura.style import Style, StyleLibrary

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

TEXT_STYLE = "text:"
OneStyle = PictureLike | Style
StyleChoice = PictureLike | Style | Mapping[str | Path, float] | list[tuple[OneStyle, float]]


class Studio:
    """Holds one model, loaded on first use, the user's style library and a cache of what was computed.

    ``model`` is a short name, folder, file or hub id, or a loaded diffusers pipeline, which keeps its own device and
    number format; ``device`` and ``dtype`` are "auto" or a name (``dtype`` also torch's). ``library_folder`` is where
    styles are kept (default: ``styles`` under ``VELATURA_HOME``). ``given`` are adapters, and pictures for them, in
    memory.
    """

    def __init__(
        self,
        model: str | Path | DiffusionPipeline = HOUSE,
        device: str = "auto",
        dtype: str | torch.dtype = "auto",
        library_folder: str | Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.model, self.device, self.dtype = model, device, dtype
        self.library = StyleLibrary(Path(library_folder) if library_folder else styles_folder())
        self.progress = progress or Silent()
        self._backbone: Backbone | None = None
        self.cache = Cache(folder=self.library.folder.parent / "cache")
        self.given = GivenAdapters()

    @property
    def backbone(self) -> Backbone:
        """The model, loaded now if it was not yet. Raises ModelError when it cannot be."""
        if self._backbone is None:
            if isinstance(self.model, str | Path):
                self._backbone = load_backbone(str(self.model), self.device, self.dtype)
            else:
                self._backbone = backbone_of_pipeline(self.model)
        return self._backbone

    def context(self, seed: int = 0, on_step: OnStep | None = None) -> RunContext[Backbone]:
        """What a method runs in: the model, a seed, the cache and the progress. Raises SettingError for a bad seed."""
        check_seed(seed)
        progress = self.progress if on_step is None else Previews(self.progress, on_step, self.backbone)
        return RunContext(self.backbone, seed, self.cache, progress, self.given)

    def fit(
        self,
        picture: PictureLike | list[PictureLike],
        name: str = "",
        method: str | Method = "guided",
        mask: PictureLike | None = None,
        **settings: Any,
    ) -> Style:
        """Fit a style to a picture, white in ``mask`` where it counts, or one style to a list of pictures.

        It is not kept until ``library.add(style)``. A fit that was interrupted goes on from its last checkpoint.
        """
        opened = [as_picture(each) for each in (picture if isinstance(picture, list) else [picture])]
        if not opened:
            raise SettingError("There is no style picture: give at least one.")
        chosen = None if mask is None else as_picture(mask)
        return self._fit(opened, name or opened[0].name, configured(method, settings), chosen)

    def _fit(self, pictures: list[Picture], name: str, method: Method, mask: Picture | None = None) -> Style:
        file = f"{method.style_method}-{pictures[0].digest[:16]}.safetensors"
        checkpoint = self.library.folder.parent / "fits" / file
        return fit_style(method, pictures, name, self.context(), mask, checkpoint)

    def style(self, style: OneStyle, method: Method) -> Style:
        """A style from the library by name, in words ("text:..."), or fitted to a picture (once in this Studio's life).

        Raises StyleError for a name that is not in the library, PictureError for a file that is no picture.
        """
        if isinstance(style, Style):
            return style
        if isinstance(style, str) and style.startswith(TEXT_STYLE):
            return text_style(style.removeprefix(TEXT_STYLE), method)
        if isinstance(style, str | Path):
            unlike_a_file = not Path(style).suffix and not Path(style).exists()
            if unlike_a_file or self.library.has(str(style)):
                return self.library.load(str(style))
        picture = as_picture(style)
        key = (method.style_method, picture.digest, *method.style_view, repr(dict(method.fit_settings)))

        def fitted() -> Style:
            # A fit may take minutes, which a run that cannot be must not cost.
            method.resolved(self.backbone).check_run(1, self.context())
            return self._fit([picture], picture.name, method)

        return self.cache.get_or_compute(key, fitted)

    @overload
    def stylize(
        self,
        content: PictureLike,
        style: StyleChoice,
        seed: int = 0,
        method: str | Method = "guided",
        on_step: OnStep | None = None,
        **settings: Any,
    ) -> Stylization: ...

    @overload
    def stylize(
        self,
        content: list[PictureLike],
        style: StyleChoice,
        seed: int = 0,
        method: str | Method = "guided",
        on_step: OnStep | None = None,
        **settings: Any,
    ) -> list[Stylization]: ...

    def stylize(
        self,
        content: PictureLike | list[PictureLike],
        style: StyleChoice,
        seed: int = 0,
        method: str | Method = "guided",
        on_step: OnStep | None = None,
        **settings: Any,
    ) -> Stylization | list[Stylization]:
        """Put a style on a content: any picture (see ``as_picture``), a style's name, a Style, or several with weights.

        Styles with weights come by name in a mapping, or of any kind in a list of pairs.
        ``method`` is a name in ``velatura.registry`` with ``settings``, its class's fields, or an object of that class,
        as ``Guided(strength=0.4)``; ``strength="auto"`` makes three results and returns the one at the knee of content
        against style. ``on_step`` is called with each denoising step's number and decoded estimate; it returns False
        to stop, which raises StoppedError. The same seed, settings and machine give the same picture.
        A list of contents gives a list of results. Raises a VelaturaError for what the user can put right.
        """
        if isinstance(content, list):
            return self.stylize_all(content, style, seed, method, on_step, **settings)
        return self.stylize_all([content], style, seed, method, on_step, **settings)[0]

    def stylize_all(
        self,
        contents: Sequence[PictureLike],
        style: StyleChoice,
        seed: int = 0,
        method: str | Method = "guided",
        on_step: OnStep | None = None,
        **settings: Any,
    ) -> list[Stylization]:
        """``stylize`` for several contents; those of one working size can share passes of the model."""
        check_seed(seed)
        chooses = settings.get("strength") == AUTO
        configuration = configured(method, {k: v for k, v in settings.items() if k != "strength" or v != AUTO})
        if chooses:
            check_has_strength(configuration)
        opened = [as_picture(content) for content in contents]
        choices: list[tuple[OneStyle, float]] = (
            style if isinstance(style, list) else [*style.items()] if isinstance(style, Mapping) else [(style, 1.0)]
        )
        check_mixes(configuration, len(choices))
        chosen = configuration.mix([(self.style(choice, configuration), weight) for choice, weight in choices])
        if chooses:
            return stylize_at_knee(configuration, opened, chosen, self.context(seed, on_step))
        return configuration.stylize(opened, [Region(chosen)], self.context(seed, on_step))

    def stylize_regions(
        self,
        content: PictureLike,
        regions: Sequence[tuple[str | Path | Image.Image | Query, OneStyle]],
        seed: int = 0,
        method: str | Method = "diffstyler",
        on_step: OnStep | None = None,
        **settings: Any,
    ) -> Stylization:
        """Put styles where queries say: pairs of a query and a style.

        A query is a mask picture's path, "box:x0,y0,x1,y1", "point:x,y", "text:words" or what else ``parse_query``
        reads; the style "NAME*0.5@0-0.3" acts in the first 30 % of the run only, and half of the result is laid over
        the content. Later regions lie over earlier ones; outside all of them the content is kept. ``on_step`` is as in
        ``stylize``. Raises SettingError without any region.
        """
        check_seed(seed)
        configuration = configured(method, settings)
        queries = [as_query(where) for where, _ in regions]
        named = [
            parse_region_style(style) if isinstance(style, str) else (style, 1.0, WHOLE_RUN) for _, style in regions
        ]
        chosen = [
            Region(self.style(style, configuration.for_region()), query, weight, span)
            for query, (style, weight, span) in zip(queries, named, strict=True)
        ]
        return configuration.stylize([as_picture(content)], chosen, self.context(seed, on_step))[0]


def as_query(where: str | Path | Image.Image | Query) -> Query:
    """A query of what callers have: its text, a mask picture's path, a mask in memory, or a query."""
    if isinstance(where, Image.Image):
        return ImageQuery(where)
    return parse_query(str(where)) if isinstance(where, str | Path) else where


def text_style(text: str, method: Method) -> Style:
    """A style in words, which CLIP compares pictures with. Raises SettingError for methods that take none."""
    if not method.text_styles or not text.strip():
        others = " or ".join(methods_with("text_styles"))
        raise SettingError(f"A style in words is for --method {others}, as --style '{TEXT_STYLE}a sketch with crayon'.")
    return Style(text, method.style_method, "", "", {}, {"text": text})


def check_mixes(method: Method, count: int) -> None:
    """Raise SettingError for ``count`` styles with weights where the method cannot mix them."""
    if count > 1 and not method.mixes:
        others = " or ".join(methods_with("mixes"))
        raise SettingError(f"The method {method.name} cannot mix styles: give it one, or use --method {others}.")


def configured(method: str | Method, settings: Mapping[str, Any]) -> Method:
    """A method by name with settings, former names and the size "full" translated; or one with settings replaced.

    Raises SettingError for a setting that the method does not have.
    """
    settings = with_resolution(settings)
    if isinstance(method, Method):
        return replace(method, **settings) if settings else method
    chosen = current(Choice(method, settings))
    cls = method_class(chosen.method)
    known = [field.name for field in fields(cls)]
    unknown = sorted(set(chosen.settings) - set(known))
    if unknown:
        raise no_setting(chosen.method, unknown[0], known)
    return cls(**chosen.settings)
