"""The front door from Python: a model, a style library, and what was computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from velatura.app.home import home
from velatura.app.options import parse_span
from velatura.errors import SettingError
from velatura.memory import Memory
from velatura.methods import DiffStyler, Guided, Method, S2PreST, Stylization, method_of
from velatura.models.adapters import read_lora
from velatura.models.catalogue import HOUSE
from velatura.models.loading import AnyBackbone, load_backbone
from velatura.picture import Picture, image_to_pixels, open_picture
from velatura.progress import Progress, Silent
from velatura.regions import Query, Region, parse_query
from velatura.style import Style, StyleLibrary
from velatura.style.mixing import mix_styles
from velatura.style.pictures import kept_image, picture_tensor
from velatura.style.published import read_published_embeddings

TEXT_STYLE = "text:"
StyleChoice = str | Path | Picture | Style | Mapping[str | Path, float]


class Studio:
    """Holds one model, loaded on first use, and the user's styles.

    ``model`` is a short name, folder, file or hub id; ``device`` and ``dtype`` are "auto" or a name;
    ``library_folder`` is where styles are kept (default: ``styles`` under ``VELATURA_HOME``).
    """

    def __init__(
        self,
        model: str = HOUSE,
        device: str = "auto",
        dtype: str = "auto",
        library_folder: str | Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.model, self.device, self.dtype = model, device, dtype
        self.library = StyleLibrary(Path(library_folder) if library_folder else home() / "styles")
        self.progress = progress or Silent()
        self._backbone: AnyBackbone | None = None
        self.memory = Memory(folder=self.library.folder.parent / "cache")

    @property
    def backbone(self) -> AnyBackbone:
        """The model, loaded now if it was not yet. Raises ModelError when it cannot be."""
        if self._backbone is None:
            self._backbone = load_backbone(self.model, self.device, self.dtype)
        return self._backbone

    def fit(
        self,
        picture: str | Path | Picture,
        name: str = "",
        method: str = "guided",
        mask: str | Path | Picture | None = None,
        **settings: Any,
    ) -> Style:
        """Fit a style to a picture, white in ``mask`` where it counts; not kept until ``library.add(style)``.

        A fit that was interrupted goes on from its last checkpoint.
        """
        opened, chosen = as_picture(picture), None if mask is None else as_picture(mask)
        return self._fit(opened, name or opened.name, configured(method, settings), chosen)

    def _fit(self, picture: Picture, name: str, method: Method, mask: Picture | None = None) -> Style:
        checkpoint = self.library.folder.parent / "fits" / f"{method.fits}-{picture.digest[:16]}.safetensors"
        return method.fit(picture, self.backbone, name, self.progress, mask, checkpoint)

    def style(self, style: str | Path | Picture | Style, method: Method) -> Style:
        """A style from the library by name, or fitted to a picture now (once in this Studio's life)."""
        if isinstance(style, Style):
            return style
        if isinstance(style, str) and style.startswith(TEXT_STYLE):
            return text_style(style.removeprefix(TEXT_STYLE), method)
        if not isinstance(style, Picture):
            unlike_a_file = not Path(style).suffix and not Path(style).exists()
            if unlike_a_file or self.library.has(str(style)):
                return self.library.load(str(style))
        picture = as_picture(style)
        key = (method.fits, picture.digest, repr(dict(method.fitted_by)))
        return self.memory.recall(key, lambda: self._fit(picture, picture.name, method))

    def stylize(
        self,
        content: str | Path | Picture,
        style: StyleChoice,
        seed: int = 0,
        method: str = "guided",
        **settings: Any,
    ) -> Stylization:
        """Put a style (a picture or its path, a style's name, a Style, or several with weights) on a content picture.

        ``settings`` are the method's own (see ``velatura.methods``). The same seed, settings and machine give
        the same picture.
        """
        return self.stylize_all([content], style, seed, method, **settings)[0]

    def stylize_all(
        self,
        contents: Sequence[str | Path | Picture],
        style: StyleChoice,
        seed: int = 0,
        method: str = "guided",
        **settings: Any,
    ) -> list[Stylization]:
        """``stylize`` for several contents, which share what can be shared."""
        configuration = configured(method, settings)
        opened = [as_picture(content) for content in contents]
        choices = style.items() if isinstance(style, Mapping) else [(style, 1.0)]
        chosen = mix_styles([(self.style(choice, configuration), weight) for choice, weight in choices])
        return configuration.stylize(opened, [Region(chosen)], self.backbone, seed, self.progress, self.memory)

    def stylize_regions(
        self,
        content: str | Path | Picture,
        regions: Sequence[tuple[str | Path | Query, str | Path | Picture | Style]],
        seed: int = 0,
        method: str = "diffstyler",
        **settings: Any,
    ) -> Stylization:
        """Put styles where queries say: pairs of a query (a mask picture's path, "box:x0,y0,x1,y1", "point:x,y",
        "text:words") and a style, which "NAME@0-0.5" lets act in the first half of the steps only. Later
        regions lie over earlier ones; outside all of them the content is kept.
        """
        configuration = configured(method, settings)
        queries = [parse_query(str(where)) if isinstance(where, str | Path) else where for where, _ in regions]
        named = [parse_span(style) if isinstance(style, str) else (style, (0.0, 1.0)) for _, style in regions]
        chosen = [
            Region(self.style(style, configuration), query, span=span)
            for query, (style, span) in zip(queries, named, strict=True)
        ]
        if not chosen:
            raise SettingError("There is no region: give at least one.")
        backbone = self.backbone
        return configuration.stylize([as_picture(content)], chosen, backbone, seed, self.progress, self.memory)[0]


def text_style(text: str, method: Method) -> Style:
    """A style in words, which CLIP compares pictures with. Raises SettingError for methods without CLIP losses."""
    if method.fits != Guided.fits or not text.strip():
        raise SettingError(f"A style in words is for --method guided, as --style '{TEXT_STYLE}a sketch with crayon'.")
    return Style(text, Guided.fits, "", "", {}, {"text": text})


def imported_embeddings(file: Path, name: str, picture: Path | None, model: str) -> Style:
    """A published InST embedding file as a style; with its ``picture`` also what ``model`` sees in that.

    The file does not say which weights it belongs to: only the words' width is checked when it is used.
    Raises StyleError for another or a hostile file, ModelError where the picture is given and the model is not here.
    """
    tensors = read_published_embeddings(file).tensors()
    card: dict[str, Any] = {"imported": file.name}
    if picture is not None:
        opened = open_picture(picture)
        seen = Studio(model).backbone.see(image_to_pixels(opened.image))
        tensors |= {"embedding": seen, "picture.00": picture_tensor(kept_image(opened.image))}
        card |= {"picture": opened.name, "sha256": opened.digest}
    return Style(name, S2PreST.fits, model, "", tensors, card)


def imported_lora(file: Path, name: str, prompt: str, model: str) -> Style:
    """A LoRA file (diffusers', kohya's or the published trainer's) as a style that was fitted under ``prompt``.

    Whether it fits the base model is checked when it is used. Raises StyleError for another or a hostile file.
    """
    return Style(name, DiffStyler.fits, model, "", read_lora(file), {"imported": file.name, "prompt": prompt})


def as_picture(picture: str | Path | Picture) -> Picture:
    """A picture, opened if it is a path."""
    return picture if isinstance(picture, Picture) else open_picture(picture)


def configured(method: str, settings: dict[str, Any]) -> Method:
    """A method with settings. Raises SettingError for one that the method does not have."""
    cls = method_of(method)
    unknown = set(settings) - set(cls.__dataclass_fields__)
    if unknown:
        raise SettingError(
            f"The method {method} has no setting '{sorted(unknown)[0]}': it has {', '.join(cls.__dataclass_fields__)}."
        )
    return cls(**settings)
